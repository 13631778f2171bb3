package scenario

import "slices"

const (
	short  = 64
	medium = 1 << 10
	long   = 64 << 10
	bulk   = 1 << 20

	// Offered is the moderate load, in calls a second.
	Offered = 24_000
	// BulkCallers is how many callers move bulk, alone or beside the one that does not.
	BulkCallers = 8
	// Links is how many links the hub has whose CPU is measured, with a call a second each.
	Links = 1000
	// Crowd is the most callers at once.
	Crowd = 100_000
	// CrowdLinks is how many links they take turns on: one of rpcmesh's has at most 65,536 calls open.
	CrowdLinks = 2
)

// All are the scenarios, in the order they run and are reported. Procs are the GOMAXPROCS of those that compare such.
func All(procs []int) []Scenario {
	return slices.Concat(unary(), offered(), pingPong(), throughput(), besideBulk(), extremes(), oneCPU(), withProcs(procs), encrypted())
}

func unary() []Scenario {
	var all []Scenario
	for _, payload := range []int{short, medium, long} {
		for _, callers := range []int{1, 64, 1024} {
			load := Load{Kind: Unary, Payload: payload, Callers: callers}
			quick := callers <= 64 && payload == short
			for relays := range 3 {
				quickBulk := payload == long && callers <= 64 && relays == 0
				s := Scenario{Load: load, Relays: relays, Quick: quick || quickBulk}
				if payload == short || quickBulk {
					s.Table = Most
				}
				all = append(all, s)
			}
			if payload == short {
				far := Scenario{Load: load, Relays: 3}
				if callers == 64 {
					far.Table = Most
				}
				all = append(all, far)
			}
		}
	}
	return append(all, Scenario{Load: Load{Kind: Unary, Payload: bulk, Callers: BulkCallers}, Table: Most})
}

func offered() []Scenario {
	load := Load{Kind: Paced, Payload: short, Rate: Offered}
	return []Scenario{
		{Load: load, Quick: true, Table: Main},
		{Load: load, Relays: 1, Quick: true, Table: Main},
		{Load: load, Relays: 2},
	}
}

func pingPong() []Scenario {
	var all []Scenario
	for _, streams := range []int{1, 64} {
		for relays := range 3 {
			load := Load{Kind: PingPong, Payload: short, Callers: streams}
			s := Scenario{Load: load, Relays: relays}
			if relays == 0 {
				s.Quick, s.Table = true, Most
			}
			all = append(all, s)
		}
	}
	return all
}

func throughput() []Scenario {
	var all []Scenario
	for _, streams := range []int{1, 64} {
		for relays := range 3 {
			all = append(all, Scenario{Load: Load{Kind: Throughput, Payload: medium, Callers: streams}, Relays: relays})
		}
		all = append(all, Scenario{Load: Load{Kind: Throughput, Payload: long, Callers: streams}})
	}
	return all
}

func besideBulk() []Scenario {
	load := Load{Kind: Beside, Payload: short, Callers: BulkCallers, Bulk: bulk}
	return []Scenario{{Load: load, Quick: true, Table: Most}, {Load: load, Relays: 1}}
}

// extremes are many links with little to do, and a crowd of callers on few.
func extremes() []Scenario {
	return []Scenario{
		{
			Load: Load{Kind: Paced, Payload: short, Rate: Links, Links: Links}, Table: Most,
			Only: []string{"rpcmesh", "grpc-go", "tcp"},
		},
		{
			Load: Load{Kind: Unary, Payload: short, Callers: Crowd, Links: CrowdLinks}, Table: Most,
			Only: []string{"rpcmesh", "grpc-go", "connect-go"}, // the others have a connection for each caller
		},
	}
}

// oneCPU are loads that show what a call costs where no thread of another CPU has to be woken.
func oneCPU() []Scenario {
	var all []Scenario
	for _, callers := range []int{1, 64} {
		all = append(all, Scenario{
			Load: Load{Kind: Unary, Payload: short, Callers: callers}, OneCPU: true, Table: Most,
			Only: []string{"rpcmesh", "grpc-go", "tcp"},
		})
	}
	return all
}

func withProcs(procs []int) []Scenario {
	var all []Scenario
	for _, n := range procs {
		all = append(all, Scenario{Load: Load{Kind: Unary, Payload: short, Callers: 64}, Procs: n, Table: Main})
	}
	return all
}

// encrypted are the scenarios that a goal asks for, over TLS.
func encrypted() []Scenario {
	var all []Scenario
	for _, callers := range []int{1, 64} {
		for relays := range 3 {
			all = append(all, Scenario{Load: Load{Kind: Unary, Payload: short, Callers: callers}, Relays: relays})
		}
		all = append(all,
			Scenario{Load: Load{Kind: Unary, Payload: long, Callers: callers}},
			Scenario{Load: Load{Kind: PingPong, Payload: short, Callers: callers}})
	}
	for relays := range 2 {
		all = append(all, Scenario{Load: Load{Kind: Paced, Payload: short, Rate: Offered}, Relays: relays})
	}
	all = append(all, Scenario{Load: Load{Kind: Beside, Payload: short, Callers: BulkCallers, Bulk: bulk}})
	for i := range all {
		all[i].TLS, all[i].Table = true, Main
	}
	return all
}
