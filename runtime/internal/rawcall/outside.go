package rawcall

import "context"

type outsideKey struct{}

// outsideContext is a context of [WithOutside]. It is one piece of memory, where one of the context package's would be
// two.
type outsideContext struct {
	context.Context

	outside Outside
}

// Value implements context.Context.
func (c *outsideContext) Value(key any) any {
	if key == (outsideKey{}) {
		return &c.outside
	}
	return c.Context.Value(key)
}

// WithOutside has the calls that are made in ctx come from outside, as handlers see it: it is for gateways, which let
// calls in that others make. A text of more than 256 bytes is cut; a Gateway without a name is called gateway.
// [Call.Outside] is the same for a Call.
func WithOutside(ctx context.Context, o Outside) context.Context {
	return &outsideContext{ctx, o}
}

// OutsideOf returns how the calls come in that are made in ctx, nil for those of this program's own.
func OutsideOf(ctx context.Context) *Outside {
	o, _ := ctx.Value(outsideKey{}).(*Outside)
	return o
}
