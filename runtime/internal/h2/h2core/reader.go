package h2core

import (
	"bytes"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// ReadLimits bounds what a [FrameReader] takes, in bytes.
type ReadLimits struct {
	// Frame is the longest frame of any type, which this end's SETTINGS_MAX_FRAME_SIZE says.
	Frame int
	// Parsed is the longest payload that Payload takes, which buffers it whole.
	Parsed int
	// HeaderList is the longest header list as RFC 9113 section 6.5.2 counts it. One that is longer comes truncated.
	HeaderList int
	// HeaderBlock is the longest header block on the wire, with the headers of its CONTINUATION frames.
	HeaderBlock int
}

// FrameReader reads a peer's frames, checks their form and their order, and bounds their length. It belongs to one
// goroutine. Its errors are connection errors ([*ConnError]), stream errors ([http2.StreamError]), and those of the
// input.
type FrameReader struct {
	in            *netio.Input
	framer        *http2.Framer
	limits        ReadLimits
	gotSettings   bool // the peer's first SETTINGS frame has begun
	settingsAcked bool // the peer has acknowledged ours
}

// NewFrameReader returns a FrameReader of in, from which others may read between frames.
func NewFrameReader(in *netio.Input, limits ReadLimits) FrameReader {
	r := FrameReader{in: in, framer: http2.NewFramer(nil, in), limits: limits}
	r.framer.SetMaxReadFrameSize(uint32(limits.Frame))
	r.framer.MaxHeaderListSize = uint32(limits.HeaderList)
	r.framer.ReadMetaHeaders = hpack.NewDecoder(InitialHeaderTable, nil)
	return r
}

// Preface reads the client's connection preface (RFC 9113 section 3.4), without its SETTINGS.
func (r *FrameReader) Preface() error {
	if err := r.in.Wait(len(http2.ClientPreface)); err != nil {
		return err
	}
	if !bytes.Equal(r.in.Next(len(http2.ClientPreface)), []byte(http2.ClientPreface)) {
		return ConnErrorf(http2.ErrCodeProtocol, "no HTTP/2 preface")
	}
	return nil
}

// GotSettings reports whether the header of the peer's first SETTINGS frame has been read.
func (r *FrameReader) GotSettings() bool { return r.gotSettings }

// Header reads the header of the next frame. The payload of a frame that is not given to Payload is the caller's to
// read, or to discard, from the input.
func (r *FrameReader) Header() (http2.FrameHeader, error) {
	fh, err := r.framer.ReadFrameHeader()
	if err != nil {
		return fh, r.framerError(nil, err)
	}
	if !r.gotSettings {
		if fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck) {
			return fh, ConnErrorf(http2.ErrCodeProtocol, "first frame is %s, not SETTINGS", fh.Type)
		}
		r.gotSettings = true
	}
	return fh, nil
}

// Payload reads the payload of the frame whose header has been read, and returns the frame, which is valid until the
// next. With HEADERS it reads the CONTINUATION frames as well: the frame is an [*http2.MetaHeadersFrame].
func (r *FrameReader) Payload(fh http2.FrameHeader) (http2.Frame, error) {
	if int(fh.Length) > r.limits.Parsed {
		return nil, ConnErrorf(http2.ErrCodeFrameSize, "%s of %d bytes", fh.Type, fh.Length)
	}
	if fh.Type == http2.FrameHeaders {
		r.in.Limit = r.limits.HeaderBlock
		r.framer.SetMaxReadFrameSize(uint32(r.limits.Parsed)) // of the CONTINUATION frames
		defer func() {
			r.in.Limit = -1
			r.framer.SetMaxReadFrameSize(uint32(r.limits.Frame))
		}()
	}
	f, err := r.framer.ReadFrameForHeader(fh)
	if err != nil {
		return nil, r.framerError(f, err)
	}
	if s, ok := f.(*http2.SettingsFrame); ok {
		if err := r.checkSettings(s); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// checkSettings refuses a second acknowledgement, as an endpoint sends SETTINGS once, and more settings than there is use
// for.
func (r *FrameReader) checkSettings(f *http2.SettingsFrame) error {
	switch {
	case f.IsAck() && r.settingsAcked:
		return ConnErrorf(http2.ErrCodeProtocol, "acknowledgement of SETTINGS that were not sent")
	case f.IsAck():
		r.settingsAcked = true
	case f.NumSettings() > maxSettings:
		return ConnErrorf(http2.ErrCodeEnhanceYourCalm, "%d settings in a frame", f.NumSettings())
	}
	return nil
}
