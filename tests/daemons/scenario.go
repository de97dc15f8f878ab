package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// scenario is a line of the table: tests of package tests/containerd that have
// to pass for it to be well.
type scenario struct {
	group string // the line of README's table that it counts for
	name  string
	tests []string
}

// The lines of README's table.
const (
	groupTasks   = "containers: run, exec, attach, signals, limits, events, OOM, logs"
	groupPods    = "pods that share a shim"
	groupRestart = "the daemon killed, restarted or upgraded under them"
	groupCRI     = "Kubernetes: pods through the CRI, probes, stats, OOMKilled, restart, upgrade"
	groupDocker  = "Docker: run, exec, logs, stop, --init, -it, restart policies, live-restore"
)

var groups = []string{groupTasks, groupPods, groupRestart, groupCRI, groupDocker}

var scenarios = []scenario{
	{groupTasks, "run", []string{
		"TestRunShowsBothOutputsAndEndsWithTheContainersExitCode",
		"TestRunLosesNothingOfALongOutput",
		"TestRunOfWhatIsNotThereSaysSoAndLeavesNothing",
	}},
	{groupTasks, "run in the background", []string{
		"TestRunInTheBackgroundLivesOnWithoutItsCtr",
		"TestATaskCanBeStartedAgainInTheSameContainer",
	}},
	{groupTasks, "run an image's snapshot", []string{
		"TestAContainerFromAnImageHasTheSnapshotsOverlayAsItsRoot",
		"TestAnImagesContainerIsUnmountedWhenItsShimIsKilled",
	}},
	{groupTasks, "exit codes", []string{"TestExitCodesOfInitArrive", "TestDeathsOfExecsBySignalArrive"}},
	{groupTasks, "exec", []string{
		"TestExecShowsBothOutputsAndEndsWithItsOwnExitCode",
		"TestExecOfWhatIsNotThereSaysSoAndTheContainerGoesOn",
		"TestExecInTheBackgroundIsListedKilledAndDeletedById",
	}},
	{groupTasks, "terminal", []string{"TestRunOnATerminal", "TestExecOnATerminal", "TestEverythingPrintedOnATerminalArrives"}},
	{groupTasks, "attach", []string{"TestAttachShowsWhatComesAndTakesWhatIsTyped"}},
	{groupTasks, "stdin", []string{"TestExecReadsWhatIsPipedIntoIt", "TestExecSeesTheEndOfItsInputEveryTime"}},
	{groupTasks, "kill", []string{
		"TestKillLetsAProgramHandleTheSignal",
		"TestKillOfAllReachesEveryProcess",
		"TestKillOfWhatHasEndedSaysNotFound",
		"TestForcedDeleteEndsWhatRuns",
	}},
	{groupTasks, "pause", []string{"TestPauseFreezesAndResumeGoesOn", "TestAPausedContainerDiesOfSIGKILL"}},
	{groupTasks, "metrics", []string{"TestMetricsAreThoseOfTheCgroup"}},
	{groupTasks, "update", []string{"TestUpdateChangesTheLimitsOfARunningContainer"}},
	{groupTasks, "events in order", []string{"TestEveryExecOfADyingContainerTellsItsEnd", "TestEventsOfManyComeInTheOrderOfEach"}},
	{groupTasks, "OOM", []string{"TestACommandThatNeedsTooMuchMemoryIsToldAsOOMBeforeItsExit"}},
	{groupTasks, "logs to a file", []string{"TestOutputGoesToAFile"}},
	{groupTasks, "logs to a program", []string{"TestOutputGoesToALogger", "TestALoggerThatIsNotThereFailsTheRun"}},
	{groupTasks, "ctr shim", []string{"TestCtrSpeaksToTheShimDirectly"}},
	{groupTasks, "runtime by path", []string{"TestTheRuntimeIsChosenByItsPath"}},
	{groupTasks, "shim by name", []string{"TestTheShimIsChosenByName"}},
	{groupTasks, "shim by path", []string{"TestTheShimIsChosenByPath"}},
	{groupTasks, "shim killed", []string{
		"TestAShimThatIsKilledTakesItsContainerWithIt",
		"TestAShimThatIsKilledAfterAnExitDoesNotTakeItsStatusAlong",
		"TestAShimThatIsKilledWhileContainerdIsDownLeavesNothing",
	}},
	{groupPods, "one shim for a pod", []string{
		"TestContainersOfAPodShareAShimThatLivesAsLongAsOneOfThem",
		"TestAPodIsFoundAgainByARestartedContainerd",
	}},
	{groupRestart, "daemon killed", []string{
		"TestTwentyContainersLiveThroughTheDeathOfTheirDaemon",
		"TestAContainerLivesOnWhenContainerdIsKilledAndStartedAgain",
		"TestAPausedContainerIsStillPausedAfterARestart",
	}},
	{groupRestart, "exits while it is down", []string{
		"TestAnExitWhileContainerdIsDownIsToldWithItsTrueStatus",
		"TestAnExitWhileContainerdIsDownIsWhatDeleteTells",
		"TestExitsOfExecsWhileContainerdIsDownAreAllForwardedWhenItIsBack",
	}},
	{groupRestart, "output while it is down", []string{"TestAContainerWritesOnWhileContainerdIsDown"}},
	{groupRestart, "upgrade to the newest", []string{
		"TestContainersLiveThroughEveryUpgrade",
		"TestAPodGrowsThroughEveryUpgrade",
	}},
	{groupRestart, "swapped in and out", []string{"TestTheDropInIsSwappedInAndOutUnderContainersThatRun"}},
	{groupRestart, "beside containerd's own shim", []string{"TestContainersOfTwoKindsOfShimLiveSideBySide"}},
	{groupCRI, "CRI: a pod of two", []string{"TestCRIAPodOfTwoContainersHasOneShim"}},
	{groupCRI, "CRI: runtime class", []string{"TestCRIAPodOfARuntimeClass"}},
	{groupCRI, "CRI: exec probes", []string{"TestCRIExecProbesComeBackEachWithItsOwn"}},
	{groupCRI, "CRI: stop in its grace", []string{"TestCRIStopLetsAContainerEndInItsGrace"}},
	{groupCRI, "CRI: stats and updates", []string{"TestCRIStatsAndUpdates"}},
	{groupCRI, "CRI: OOMKilled", []string{"TestCRITellsWhoWasOOMKilled"}},
	{groupCRI, "CRI: restart and upgrade", []string{"TestCRIPodsLiveThroughARestartAndEveryUpgrade"}},
	{groupCRI, "CRI: pods leave nothing", []string{"TestCRIPodsComeAndGoAndLeaveNothing"}},
	{groupDocker, "Docker: run, exec, logs", []string{"TestDockerRunExecAndLogs"}},
	{groupDocker, "Docker: --runtime", []string{"TestDockerTakesTheShimByItsOwnName"}},
	{groupDocker, "Docker: stop and kill", []string{"TestDockerStopAndKill"}},
	{groupDocker, "Docker: --init", []string{"TestDockerInit"}},
	{groupDocker, "Docker: -it", []string{"TestDockerOnATerminal"}},
	{groupDocker, "Docker: restart policies", []string{"TestDockerRestartsWhatItShould"}},
	{groupDocker, "Docker: --pid=host", []string{"TestDockerInTheHostsPidNamespace"}},
	{groupDocker, "Docker: OOM", []string{"TestDockerTellsWhoWasOOMKilled"}},
	{groupDocker, "Docker: live-restore", []string{"TestDockerContainersLiveThroughTheDeathOfBothDaemons"}},
}

// choose are the scenarios whose names match.
func choose(pattern string) ([]scenario, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []scenario
	for _, s := range scenarios {
		if re.MatchString(s.name) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run: no scenario matches %q", pattern)
	}
	return chosen, nil
}

// rest is a scenario of the tests that no other has.
func rest(all []string) scenario {
	return scenario{groupTasks, "all other tests", slices.DeleteFunc(slices.Clone(all), func(test string) bool {
		return slices.ContainsFunc(scenarios, func(s scenario) bool { return slices.Contains(s.tests, test) })
	})}
}

// unknown are the tests of scenarios that there are not.
func unknown(chosen []scenario, all []string) []string {
	var unknown []string
	for _, s := range chosen {
		for _, test := range s.tests {
			if !slices.Contains(all, test) {
				unknown = append(unknown, test)
			}
		}
	}
	return unknown
}

// pattern is go test's, for the scenarios' tests and no others.
func pattern(chosen []scenario) string {
	var tests []string
	for _, s := range chosen {
		tests = append(tests, s.tests...)
	}
	return "^(" + strings.Join(tests, "|") + ")$"
}
