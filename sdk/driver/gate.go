package driver

// CallNeeds is the capability that each RPC of sero.driver.v1.DriverService
// needs; one that is not in it needs none. The core refuses a call by it before
// it is made, the SDK refuses it again in the driver, and the conformance suite
// checks both.
var CallNeeds = map[string]Capability{
	"Exec":        CapExec,
	"StartSystem": CapSystemStart,
	"StopSystem":  CapSystemStop,
	"EnsureImage": CapImagePull,
	"BuildImage":  CapImageBuild,
	"RemoveImage": CapImageRemove,
	"ListImages":  CapImageList,
	"CopyIn":      CapCopy,
	"CopyOut":     CapCopy,
	"Stats":       CapStats,
	"Logs":        CapLogs,
	"Events":      CapEvents,
	"Listeners":   CapNetListeners,
}

// Needs lists the capabilities that the fields of a spec ask for.
func (s SandboxSpec) Needs() []Capability {
	var need []Capability
	add := func(asked bool, c Capability) {
		if asked {
			need = append(need, c)
		}
	}
	add(len(s.Mounts) > 0, CapMountBind)
	for _, m := range s.Mounts {
		if m.ReadOnly {
			add(true, CapMountRO)
			break
		}
	}
	add(s.Resources.CPUs > 0, CapLimitCPU)
	add(s.Resources.MemoryBytes > 0, CapLimitMemory)
	add(s.Resources.Processes > 0, CapLimitProcs)
	add(s.Resources.SharedMemoryBytes > 0, CapSharedMemory)
	add(len(s.Publish) > 0, CapNetPublish)
	add(s.ForwardSSHAgent, CapSSHAgent)
	add(s.Network != NetworkDefault, CapNetIsolated)
	return need
}

// Needs lists the capabilities that the fields of a spec ask for.
func (s ExecSpec) Needs() []Capability {
	need := []Capability{CapExec}
	if s.Terminal != nil {
		need = append(need, CapExecTTY)
	}
	if s.User != "" {
		need = append(need, CapExecUser)
	}
	return need
}

// NeedAll is nil if the driver has every capability, else the Unsupported error
// for the first that it lacks.
func NeedAll(d Driver, capabilities []Capability) error {
	for _, c := range capabilities {
		if err := Need(d, c); err != nil {
			return err
		}
	}
	return nil
}
