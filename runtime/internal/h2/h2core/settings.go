package h2core

import "golang.org/x/net/http2"

// maxSettings is how many settings a frame may have. There are ten.
const maxSettings = 100

// Settings are those of the peer's settings that bound what this end sends.
type Settings struct {
	HeaderTable   uint32 // SETTINGS_HEADER_TABLE_SIZE
	InitialWindow int64  // SETTINGS_INITIAL_WINDOW_SIZE
	MaxFrame      int    // SETTINGS_MAX_FRAME_SIZE
}

// InitialSettings returns what holds before the peer's first SETTINGS frame.
func InitialSettings() Settings {
	return Settings{HeaderTable: InitialHeaderTable, InitialWindow: InitialWindow, MaxFrame: InitialMaxFrame}
}

// Apply takes the settings of a frame, of a server's where fromServer says so. It fails for a value that RFC 9113
// section 6.5.2 does not allow. Settings that bound what neither endpoint does, and unknown ones, are checked and
// ignored.
func (s *Settings) Apply(f *http2.SettingsFrame, fromServer bool) error {
	return f.ForeachSetting(func(setting http2.Setting) error { return s.apply(setting, fromServer) })
}

func (s *Settings) apply(setting http2.Setting, fromServer bool) error {
	if setting.Valid() != nil || fromServer && setting.ID == http2.SettingEnablePush && setting.Val != 0 {
		code := http2.ErrCodeProtocol
		if setting.ID == http2.SettingInitialWindowSize {
			code = http2.ErrCodeFlowControl
		}
		return ConnErrorf(code, "setting %s", setting)
	}
	switch setting.ID {
	case http2.SettingHeaderTableSize:
		s.HeaderTable = setting.Val
	case http2.SettingInitialWindowSize:
		s.InitialWindow = int64(setting.Val)
	case http2.SettingMaxFrameSize:
		s.MaxFrame = int(setting.Val)
	}
	return nil
}
