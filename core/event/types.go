package event

// The types of events, dotted: what it is about, and what happened to it.
const (
	WorkspaceStarting Type = "workspace.starting"
	WorkspaceRunning  Type = "workspace.running"
	WorkspaceStopping Type = "workspace.stopping"
	WorkspaceStopped  Type = "workspace.stopped"
	WorkspaceRemoved  Type = "workspace.removed"
	WorkspaceFailed   Type = "workspace.failed"

	DevServerStarting Type = "devserver.starting"
	DevServerRunning  Type = "devserver.running"
	DevServerStopped  Type = "devserver.stopped"
	DevServerFailed   Type = "devserver.failed"
	DevServerRemoved  Type = "devserver.removed"

	// EgressRefused is a request of a workspace that its proxy did not let through.
	EgressRefused Type = "egress.refused"

	DriverStarted  Type = "driver.started"
	DriverCrashed  Type = "driver.crashed"
	DriverSetAside Type = "driver.setaside"
	DriverHealth   Type = "driver.health"

	// Dropped tells a watcher that it was too slow, or asked for events that are
	// no longer kept. Only that watcher sees it.
	Dropped Type = "events.dropped"
)
