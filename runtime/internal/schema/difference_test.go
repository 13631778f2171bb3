package schema

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// field is one of p.M, in text.
func field(number int, rest string) string {
	return fmt.Sprintf(`field { number: %d label: LABEL_OPTIONAL %s }`, number, rest)
}

const (
	other   = `message_type { name: "Other" }`
	inner   = `message_type { name: "Inner" field { name: "x" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 } }`
	inner64 = `message_type { name: "Inner" field { name: "x" number: 1 label: LABEL_OPTIONAL type: TYPE_FIXED64 } }`
	color   = `enum_type { name: "Color" value { name: "A" number: 0 } value { name: "B" number: 1 } }`
	color3  = `enum_type { name: "Color" value { name: "A" number: 0 } value { name: "B" number: 1 } value { name: "C" number: 2 } }`
	colorR  = `enum_type { name: "Color" value { name: "A" number: 0 } value { name: "B" number: 1 } reserved_range { start: 2 end: 2 } }`
	hue     = `enum_type { name: "Hue" value { name: "A" number: 0 } value { name: "B" number: 1 } }`
	nested  = `message_type { name: "N" enum_type { name: "Color" value { name: "N_A" number: 0 } value { name: "N_B" number: 1 } } }`
)

func m(fields string) string { return `message_type { name: "M" ` + fields + ` }` }

func TestDifference(t *testing.T) {
	int32f, colored := field(1, `name: "a" type: TYPE_INT32`), field(1, `name: "a" type: TYPE_ENUM type_name: ".p.Color"`)
	in := func(index int) string { return fmt.Sprintf(`name: "a" type: TYPE_INT32 oneof_index: %d`, index) }
	tests := []struct{ name, there, here, want string }{
		{"the same", m(int32f), m(int32f), ""},
		{"no fields", m(""), m(""), ""},
		{"a name", m(int32f), m(field(1, `name: "b" type: TYPE_INT32`)), ""},
		{"a field more", m(int32f), m(int32f + field(2, `name: "b" type: TYPE_INT32`)), ""},
		{"a field less", m(int32f + field(2, `name: "b" type: TYPE_INT32`)), m(int32f), ""},
		{"a field less, reserved", m(int32f), m(`reserved_range { start: 1 end: 2 }`), ""},
		{"int32 to string", m(int32f), m(field(1, `name: "a" type: TYPE_STRING`)), "field 1 (a) of p.M is optional int32 there, optional string here"},
		{"renamed and retyped", m(int32f), m(field(1, `name: "b" type: TYPE_FLOAT`)), "field 1 (a) of p.M is optional int32 there, optional float here"},
		{"optional to repeated", m(int32f), m(`field { name: "a" number: 1 label: LABEL_REPEATED type: TYPE_INT32 }`), "field 1 (a) of p.M is optional int32 there, repeated int32 here"},
		{"optional to required", m(int32f), m(`field { name: "a" number: 1 label: LABEL_REQUIRED type: TYPE_INT32 }`), "field 1 (a) of p.M is optional int32 there, required int32 here"},
		{"required added", m(""), m(`field { name: "a" number: 1 label: LABEL_REQUIRED type: TYPE_INT32 }`), "field 1 (a) of p.M is required here, missing there"},
		{"required removed", m(`field { name: "a" number: 1 label: LABEL_REQUIRED type: TYPE_INT32 }`), m(""), "field 1 (a) of p.M is required there, missing here"},
		{
			"packed or not", m(`field { name: "a" number: 1 label: LABEL_REPEATED type: TYPE_INT32 options { packed: true } }`),
			m(`field { name: "a" number: 1 label: LABEL_REPEATED type: TYPE_INT32 }`), "",
		},
		{"message to another", m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner"`)) + inner + other, m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Other"`)) + inner + other, "field 1 (a) of p.M is optional message p.Inner there, optional message p.Other here"},
		{"message to bytes", m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner"`)) + inner, m(field(1, `name: "a" type: TYPE_BYTES`)), "field 1 (a) of p.M is optional message p.Inner there, optional bytes here"},
		{
			"message to group", m(field(1, `name: "g" type: TYPE_MESSAGE type_name: ".p.M.G"`) + `nested_type { name: "G" }`),
			m(field(1, `name: "g" type: TYPE_GROUP type_name: ".p.M.G"`) + `nested_type { name: "G" }`), "field 1 (g) of p.M is optional message p.M.G there, optional group p.M.G here",
		},
		{"in a message below", m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner"`)) + inner, m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner"`)) + inner64, "field 1 (x) of p.Inner is optional int32 there, optional fixed64 here"},
		{"in a message that is not used", m("") + inner, m("") + inner64, ""},
		{
			"in a message behind itself", m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.M"`) + field(2, `name: "b" type: TYPE_INT32`)),
			m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.M"`) + field(2, `name: "b" type: TYPE_SINT32`)), "field 2 (b) of p.M is optional int32 there, optional sint32 here",
		},
		{
			"a map's value", mapped("TYPE_INT32"), mapped("TYPE_STRING"),
			"field 2 (value) of p.M.AEntry is optional int32 there, optional string here",
		},
		{"a map's value, compatibly", mapped("TYPE_INT32"), mapped("TYPE_UINT64"), ""},
		{"into a oneof", m(int32f), m(field(1, in(0)) + `oneof_decl { name: "o" }`), "field 1 (a) of p.M is in no oneof there, in oneof o here"},
		{"to another oneof", m(field(1, in(0)) + `oneof_decl { name: "o" }`), m(field(1, in(0)) + `oneof_decl { name: "p" }`), "field 1 (a) of p.M is in oneof o there, in oneof p here"},
		{
			"proto3 optional", `syntax: "proto3" ` + m(int32f),
			`syntax: "proto3" ` + m(field(1, in(0)+` proto3_optional: true`)+`oneof_decl { name: "_a" }`), "",
		},
		{"enum to int32", m(colored) + color, m(int32f), "field 1 (a) of p.M is optional enum p.Color there, optional int32 here"},
		{"enum to one of another name", m(colored) + color, m(field(1, `name: "a" type: TYPE_ENUM type_name: ".p.Hue"`)) + hue, "field 1 (a) of p.M is optional enum p.Color there, optional enum p.Hue here"},
		{"enum that was moved", m(colored) + color, m(field(1, `name: "a" type: TYPE_ENUM type_name: ".p.N.Color"`)) + nested, ""},
		{"enum that was moved and shortened", m(colored) + color3, m(field(1, `name: "a" type: TYPE_ENUM type_name: ".p.N.Color"`)) + nested, "field 1 (a) of p.M: value 2 (C) of enum p.Color there is missing in enum p.N.Color here"},
		{"enum value more", m(colored) + color, m(colored) + color3, ""},
		{"enum value less", m(colored) + color3, m(colored) + color, "field 1 (a) of p.M: value 2 (C) of enum p.Color there is missing in enum p.Color here"},
		{"enum value less, reserved", m(colored) + color3, m(colored) + colorR, ""},
		{
			"delimited by a feature", `syntax: "editions" edition: EDITION_2023 ` + m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner"`)) + inner,
			`syntax: "editions" edition: EDITION_2023 ` + m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p.Inner" options { features { message_encoding: DELIMITED } }`)) + inner,
			"field 1 (a) of p.M is optional message p.Inner there, optional group p.Inner here",
		},
		{
			"required by a feature", `syntax: "editions" edition: EDITION_2023 ` + m(int32f),
			`syntax: "editions" edition: EDITION_2023 ` + m(field(1, `name: "a" type: TYPE_INT32 options { features { field_presence: LEGACY_REQUIRED } }`)),
			"field 1 (a) of p.M is optional int32 there, required int32 here",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			there, here := method(t, false, false, service(t, test.there)), method(t, false, false, service(t, test.here))
			if got := Difference(there, here); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			for _, same := range []protoreflect.MethodDescriptor{there, here} {
				if got := Difference(same, same); got != "" {
					t.Errorf("from itself: %q", got)
				}
			}
		})
	}
}

func mapped(value string) string {
	return m(`field { name: "a" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".p.M.AEntry" }
		nested_type { name: "AEntry" options { map_entry: true }
			field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
			field { name: "value" number: 2 label: LABEL_OPTIONAL type: ` + value + ` } }`)
}

// TestScalars: of all pairs of scalar types, those are compatible whose encodings are.
func TestScalars(t *testing.T) {
	groups := [][]string{
		{"INT32", "INT64", "UINT32", "UINT64", "BOOL"},
		{"SINT32", "SINT64"},
		{"FIXED32", "SFIXED32"},
		{"FIXED64", "SFIXED64"},
		{"DOUBLE"},
		{"FLOAT"},
		{"STRING"},
		{"BYTES"},
	}
	methods := map[string]protoreflect.MethodDescriptor{}
	for _, g := range groups {
		for _, name := range g {
			methods[name] = method(t, false, false, service(t, m(field(1, `name: "a" type: TYPE_`+name))))
		}
	}
	for i, g := range groups {
		for j, h := range groups {
			for _, a := range g {
				for _, b := range h {
					want := i == j || a == "STRING" && b == "BYTES"
					if text := Difference(methods[a], methods[b]); (text == "") != want {
						t.Errorf("%s to %s: %q", a, b, text)
					}
				}
			}
		}
	}
}

func TestMethodDifference(t *testing.T) {
	text := func(method string) string {
		return `name: "s.proto" package: "p" message_type { name: "M" } message_type { name: "N" } service { name: "S" method { name: "Do" ` + method + ` } }`
	}
	const unary = `input_type: ".p.M" output_type: ".p.M"`
	there := method(t, false, false, fileOf(t, text(unary)))
	for _, test := range []struct {
		method         string
		client, server bool
		want           string
	}{
		{unary, false, false, ""},
		{unary + ` options { deprecated: true }`, false, false, ""},
		{unary + ` client_streaming: true`, true, false, "it is a unary method there, a client stream one here"},
		{unary + ` server_streaming: true`, false, true, "it is a unary method there, a server stream one here"},
		{unary + ` client_streaming: true server_streaming: true`, true, true, "it is a unary method there, a bidirectional stream one here"},
		{`input_type: ".p.N" output_type: ".p.M"`, false, false, "its request is p.M there, p.N here"},
		{`input_type: ".p.M" output_type: ".p.N"`, false, false, "its response is p.M there, p.N here"},
		{unary + ` options { idempotency_level: IDEMPOTENT }`, false, false, "its idempotency_level is IDEMPOTENCY_UNKNOWN there, IDEMPOTENT here"},
	} {
		here := method(t, test.client, test.server, fileOf(t, text(test.method)))
		if got := Difference(there, here); got != test.want {
			t.Errorf("%s: got %q, want %q", test.method, got, test.want)
		}
	}
}
