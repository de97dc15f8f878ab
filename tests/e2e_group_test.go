package tests

import (
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestThePodsContainersShareAShimThatGoesWithTheLast(t *testing.T) {
	for _, dialect := range client.Dialects() {
		for _, join := range []bool{false, true} {
			if join && dialect != client.DialectBootstrap {
				continue
			}
			t.Run(fmt.Sprintf("%v join=%v", dialect, join), func(t *testing.T) {
				d := harness.New(t, harness.Dialect(dialect))
				pause := d.CreateWant(harness.Want{ID: "pause", Args: []string{"sleep", "1000"},
					Edit: func(s *client.Spec) { s.Annotate(client.SandboxAnnotation, "pause") }})
				pause.Start()
				shim := pause.HoldShim()
				var apps []*harness.Container
				for i := range 3 {
					app := d.CreateWant(harness.Want{
						Args: []string{"sh", "-c", fmt.Sprintf("exit %d", i)}, Sandbox: pause, Join: join,
					})
					if app.Shim.Endpoint.Address != pause.Shim.Endpoint.Address {
						t.Fatalf("an app's shim is at %s, its pod's at %s", app.Shim.Endpoint.Address, pause.Shim.Endpoint.Address)
					}
					app.Start()
					apps = append(apps, app)
				}
				for i, app := range apps {
					if got := app.Wait(); got != uint32(i) {
						t.Errorf("%s: status %d, want %d", app.ContainerID, got, i)
					}
					app.Delete()
					d.WantStory(app, "create", "start", fmt.Sprintf("exit %d", i), fmt.Sprintf("delete %d", i))
				}
				if _, err := pause.State(d.Ctx()); err != nil {
					t.Errorf("the pod's shim after its apps: %v", err)
				}
				pause.Finish()
				if err := shim.Wait(d.Ctx()); err != nil {
					t.Errorf("the pod's shim stays: %v", err)
				}
			})
		}
	}
}

func TestTheShimStaysWithTheAppWhenTheSandboxGoesFirst(t *testing.T) {
	d := harness.New(t)
	pause := d.CreateWant(harness.Want{ID: "pause", Args: []string{"sleep", "1000"}})
	pause.Start()
	app := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Sandbox: pause})
	app.Start()
	shim := app.HoldShim()
	pause.Finish()
	if _, err := app.State(d.Ctx()); err != nil {
		t.Errorf("the app after its sandbox's delete: %v", err)
	}
	app.Finish()
	if err := shim.Wait(d.Ctx()); err != nil {
		t.Errorf("the shim stays: %v", err)
	}
}

func TestTheGroupAnnotationComesBeforeTheSandboxs(t *testing.T) {
	d := harness.New(t)
	one := d.CreateWant(harness.Want{ID: "one", Args: []string{"sleep", "1000"}, Edit: func(s *client.Spec) {
		s.Annotate(client.GroupAnnotation, "g")
		s.Annotate(client.SandboxAnnotation, "one")
	}})
	two := d.CreateWant(harness.Want{ID: "two", Args: []string{"sleep", "1000"}, Edit: func(s *client.Spec) {
		s.Annotate(client.GroupAnnotation, "g")
		s.Annotate(client.SandboxAnnotation, "two")
	}})
	if one.Shim.Endpoint.Address != two.Shim.Endpoint.Address {
		t.Error("containers of one group have two shims")
	}
	one.Delete()
	two.Delete()
}

func TestContainersOfAPodMadeAtOnceShareOneShim(t *testing.T) {
	d := harness.New(t)
	pause := d.CreateWant(harness.Want{ID: "pause", Args: []string{"sleep", "1000"}})
	pause.Start()
	const apps = 8
	var wg sync.WaitGroup
	made := make(chan *harness.Container, apps)
	for range apps {
		wg.Go(func() {
			c, err := d.TryCreate(harness.Want{Args: []string{"true"}, Sandbox: pause})
			if err != nil {
				t.Error(err)
				return
			}
			made <- c
		})
	}
	wg.Wait()
	close(made)
	for c := range made {
		if c.Shim.Endpoint.Address != pause.Shim.Endpoint.Address {
			t.Errorf("%s has a shim of its own", c.ContainerID)
		}
		c.Start()
		c.Wait()
		c.Delete()
	}
	pause.Finish()
}

func TestAPodsSharedShimDiesAndDeleteCleansEach(t *testing.T) {
	d := harness.New(t)
	pause := d.CreateWant(harness.Want{ID: "pause", Args: []string{"sleep", "1000"}})
	pause.Start()
	app := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Sandbox: pause})
	app.Start()
	pause.KillShim()
	// The first one's cleaning must not touch the other's bundle.
	pause.Cleanup()
	app.Cleanup()
}
