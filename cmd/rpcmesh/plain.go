package main

import (
	"fmt"
	"strings"
	"unicode"
)

// plain returns text of others' as a terminal may show it: what would move its cursor, change its colours or
// turn its direction is written as an escape. Lines may end.
func plain(text string) string {
	if !strings.ContainsFunc(text, steers) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if steers(r) {
			b.WriteString(escaped(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// steers reports whether a terminal acts on a rune instead of showing it.
func steers(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029')
}

// escaped is a rune as JSON writes it, so that a line of JSON stays one.
func escaped(r rune) string {
	if r > 0xffff {
		high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
		return fmt.Sprintf(`\u%04x\u%04x`, high, low)
	}
	return fmt.Sprintf(`\u%04x`, r)
}
