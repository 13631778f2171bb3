// Package mesh is the routing core of a node: who is in a namespace, what can be called there, and
// over which link.
//
// It is a link-state protocol with a namespace as its routing domain, and it is pure: time comes in
// as an argument, what to send to the peers is pulled, and nothing here waits, logs or starts anything.
// A [Core] is used by one goroutine at a time; its owner's lock sees to that. A [Snapshot] of it is
// immutable and free for all.
//
// # Words
//
//   - domain: a namespace as a routing domain, or several that are bridged at this node, with its
//     link-state database
//   - vertex: a node as a member of a namespace
//   - record: what a vertex advertises, as OSPF's LSAs and IS-IS's LSPs do; its entries are items
//   - originate: to make the next version of a record of this node; flood: to send it on all links
//   - incarnation: a start of a node; a record of a later one supersedes all earlier ones
//   - supersede: to originate records of a later incarnation than others claim to have from this node
//   - claim: the head of a record (incarnation, version, process) without its items
//   - peer version: the version of a record that the peer of a link is known to have
//   - resync: to have a record sent again whole, since it cannot be extended by what changed
//   - digest, summary: checksums and lists of versions by which the ends of a link find differences
//   - origin: an implementation of a function; a conflict is a function that has several
//   - exclusive: said of origins that cannot all serve beside each other
//   - rival, rivalry: another origin of a function of this node, and what is known of all of them
//   - derived: said of a function that a group's node passes on from one domain into another
//   - tombstone: what is remembered of a function that is gone
//   - lead: the origin whose policy and schema count; also the first vertex of a site
//   - site: the vertices of one node that bridges join
//
// # Records
//
// A vertex is a node as a member of a namespace. Each originates one record (record.go): a set
// of items, namely what the node is, its neighbours, its bridges and its functions, each with the
// version of the record at which it was last changed or removed. All records of a domain make up
// its database (domain.go), which every member has whole. An edge counts only while both ends list
// it, so two short items withdraw all that lies behind a broken link.
//
// A record is sent as what changed since a version, in the order of versions, so it can be cut
// anywhere into pieces, and these passed on before the rest has come. What makes that right: a record
// at version v holds all items of any later state of it that were last changed up to v, and no
// others but those that something later than v changes or removes. Removals are kept for that,
// though not forever: a record's floor is the version up to which they may be missing. One that is
// older than another's floor is sent again from version 0, and is put in place when it has come whole
// (receive.go). The newer (incarnation, version) wins among those of one process; of its own records
// the node itself knows best (identity.go).
//
// # Trust
//
// Members share a secret, and records are not signed. Each member is trusted with what it says of
// itself, and as little as can be with what it says of others (identity.go): a node contradicts what is
// said of it, and never obeys it; its neighbours believe nobody else about it; no record costs a link;
// and where there is not room for all, those go first that came over the link that sent most (quota.go).
// A node is distinguished from another one of its name by a key that it makes at its start and proves on
// each link. What is not promised: that what a node learns of one that is farther away is true at every
// moment, and that a name is not taken by another while nobody of that name is in reach.
//
// # Flooding
//
// Output is state: each link knows, for each record, the version that the peer has (link.go), and
// Pull (pull.go) sends what is new since. So a slow link gets the latest and no backlog, and what one
// link brought does not go back over it. Records within reach are sent; others only as news to a
// peer that has an older version, or a record of a node that is gone would be handed around
// forever. How a link opens and how differences are found is in digest.go, who has seen what in
// ack.go.
//
// # Paths
//
// Paths are the cheapest, found by every node for itself from the same records, with ties that fall
// the same way everywhere (path.go). Each hop brings a call strictly nearer, so none loops once
// tables agree. Functions hang on vertices: a changed path touches no function (candidates.go,
// index.go, view.go).
//
// # Several origins
//
// Of several origins of a function one serves, or leads. Which one follows from their records, the same at
// every node (conflict.go), and no wall clock that differs from another decides it: origins that meet send
// each other their ages, as durations, and the younger one places itself behind the other in its own record
// (precedence.go). It is believed to be no older than from when its node was last seen without it.
// Until an origin that serves has stood back, or for a few seconds, nobody follows another one that claims to
// be first; and one that does not stand back before an older one is superseded by that.
//
// What is not covered: a member that lies about the age of its function when it first joins, or that goes on
// superseding others, cannot be distinguished from an honest one. Nodes of the first wire send no ages. Among themselves
// the earlier registration counts, by their wall clocks; one that meets a newer node is believed to have been
// there first if it was as that one first met others.
//
// Of the origins of one function Limits.Origins count.
//
// # Groups and bridges
//
// Namespaces that are bridged at a node have one domain there, which is advertised in each of them; in
// it a site is the vertices of a node that bridges join, and the graph is one of sites. Nothing else
// joins domains, so nothing of a namespace can get out of it.
//
// A group that is not bridged is a matter of its node alone (group.go): a look-up tries the members
// in order. Only towards a peer that has a plain namespace of the group's name the node is a vertex
// of that domain too, passes on what is in the members as its own, and the other way round.
package mesh
