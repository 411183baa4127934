package frame

// The numbers are those of guest.proto.

func (f *Frame) fields(c *codec) {
	number(c, 1, &f.Stream)
	one(c, 2, &f.Hello)
	one(c, 3, &f.Open)
	text(c, 4, &f.Data)
	text(c, 5, &f.ErrorData)
	flag(c, 6, &f.End)
	number(c, 7, &f.Window)
	one(c, 8, &f.Started)
	one(c, 9, &f.Exit)
	one(c, 10, &f.Error)
	one(c, 11, &f.Resize)
	text(c, 12, &f.Signal)
	flag(c, 13, &f.Reset)
	one(c, 14, &f.Listeners)
	number(c, 15, &f.Accepted)
	one(c, 16, &f.Sessions)
	number(c, 17, &f.Clock)
	flag(c, 18, &f.Ping)
}

func (h *Hello) fields(c *codec) {
	number(c, 1, &h.Version)
	text(c, 2, &h.Build)
	number(c, 3, &h.UID)
	text(c, 4, &h.Instance)
	text(c, 5, &h.Owner)
	flag(c, 6, &h.Sockets)
	text(c, 7, &h.Socket)
	text(c, 8, &h.Token)
	text(c, 9, &h.Connection)
}

func (o *Open) fields(c *codec) {
	one(c, 1, &o.Exec)
	flag(c, 2, &o.Watch)
	text(c, 3, &o.Dial)
	one(c, 4, &o.Listen)
	number(c, 5, &o.Accept)
	one(c, 6, &o.Stop)
	text(c, 7, &o.Attach)
	one(c, 8, &o.Kill)
	flag(c, 9, &o.Sessions)
	flag(c, 10, &o.Clock)
	one(c, 11, &o.Claim)
}

func (c *Claim) fields(codec *codec) {
	text(codec, 1, &c.Connection)
	number(codec, 2, &c.Stream)
}

func (e *Exec) fields(c *codec) {
	texts(c, 1, &e.Argv)
	texts(c, 2, &e.Env)
	text(c, 3, &e.Dir)
	text(c, 4, &e.User)
	one(c, 5, &e.Terminal)
	flag(c, 6, &e.Detach)
	number(c, 7, &e.Keep)
	text(c, 8, &e.ExecID)
	number(c, 9, &e.KillGraceMS)
	flag(c, 10, &e.Stdin)
	text(c, 11, &e.Label)
}

func (s *Size) fields(c *codec) {
	number(c, 1, &s.Rows)
	number(c, 2, &s.Cols)
}

func (l *Listen) fields(c *codec) { number(c, 1, &l.Port) }

func (s *Stop) fields(c *codec) {
	number(c, 1, &s.Port)
	number(c, 2, &s.GraceMS)
}

func (k *Kill) fields(c *codec) { text(c, 1, &k.ExecID) }

func (s *Started) fields(c *codec) {
	number(c, 1, &s.PID)
	number(c, 2, &s.Port)
	number(c, 3, &s.Skipped)
}

func (e *Exit) fields(c *codec) {
	number(c, 1, &e.Code)
	text(c, 2, &e.Signal)
	flag(c, 3, &e.OutOfMemory)
}

func (e *Error) fields(c *codec) {
	text(c, 1, &e.Reason)
	text(c, 2, &e.Message)
	text(c, 3, &e.Resource)
	text(c, 4, &e.Field)
}

func (l *Listeners) fields(c *codec) { many(c, 1, &l.Listeners) }

func (l *Listener) fields(c *codec) {
	text(c, 1, &l.Address)
	number(c, 2, &l.Port)
	number(c, 3, &l.PID)
	text(c, 4, &l.Command)
	text(c, 5, &l.ExecID)
}

func (s *Sessions) fields(c *codec) { many(c, 1, &s.Sessions) }

func (s *Session) fields(c *codec) {
	text(c, 1, &s.ExecID)
	text(c, 2, &s.Label)
	number(c, 3, &s.PID)
	number(c, 4, &s.Started)
	one(c, 5, &s.Exit)
}
