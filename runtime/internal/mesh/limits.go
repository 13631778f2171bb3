package mesh

// Limits bound what a core holds, whoever sent it. A zero field means its default. A peer whose own
// record has more is cut off with a [*LimitError]. Of what it sends of others the excess is skipped;
// where the links together send more than a domain may hold, those that sent most go short.
type Limits struct {
	Namespaces      int // declared at this node, groups included; default 4,096
	Members         int // records in one domain, those out of reach included; default 16,384
	Neighbours      int // of one member in one namespace; default 16,384
	MemberFunctions int // of one member in one namespace; default 1,048,576
	Functions       int // in one domain; default 4,194,304
	Addresses       int // of one node; default 64
	Metadata        int // entries of one node; default 64
	InfoBytes       int // of all of a node's info; default 16 KiB
	SchemaBytes     int // of one hash of a function's schema; default 64
	Fits            int // hashes that one function fits; default 8
	// Origins of one function that count; the first ones, of those within reach. Others are kept, and passed
	// on, but not called. Default 4,096.
	Origins int
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	return Limits{
		Namespaces:      4096,
		Members:         16384,
		Neighbours:      16384,
		MemberFunctions: 1 << 20,
		Functions:       1 << 22,
		Addresses:       64,
		Metadata:        64,
		InfoBytes:       16 << 10,
		SchemaBytes:     64,
		Fits:            8,
		Origins:         4096,
	}
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		value    *int
		fallback int
	}{
		{&l.Namespaces, d.Namespaces},
		{&l.Members, d.Members},
		{&l.Neighbours, d.Neighbours},
		{&l.MemberFunctions, d.MemberFunctions},
		{&l.Functions, d.Functions},
		{&l.Addresses, d.Addresses},
		{&l.Metadata, d.Metadata},
		{&l.InfoBytes, d.InfoBytes},
		{&l.SchemaBytes, d.SchemaBytes},
		{&l.Fits, d.Fits},
		{&l.Origins, d.Origins},
	} {
		if *f.value == 0 {
			*f.value = f.fallback
		}
	}
	return l
}
