package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// decodeFile decodes one JSON value, of known fields only, from a file. What is wrong is told with its line.
func decodeFile(path string, v any) error {
	b, err := readFile(path, maxConfig)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return usagef("%s, line %d: %w (use -h to see what it may have)", path, lineOf(b, offsetOf(b, v, err)), err)
	}
	rest := d.InputOffset()
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		rest += int64(len(b[rest:]) - len(bytes.TrimLeft(b[rest:], " \t\r\n")))
		return usagef("%s, line %d: there is more after its end", path, lineOf(b, rest))
	}
	return nil
}

// lineOf is the line, counted from 1, that has the byte at an offset.
func lineOf(b []byte, offset int64) int {
	return 1 + bytes.Count(b[:min(offset, int64(len(b)))], []byte("\n"))
}

// offsetOf is where the error of decoding b into v is.
func offsetOf(b []byte, v any, err error) int64 {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return max(0, syntax.Offset-1) // it counts the byte that is wrong
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return max(0, kind.Offset-1)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return int64(len(bytes.TrimRight(b, " \t\r\n")))
	}
	w := walk{d: json.NewDecoder(bytes.NewReader(b)), b: b, at: -1}
	w.value(reflect.TypeOf(v))
	return max(0, w.at)
}

// walk goes through a value of JSON beside the type that it is for, up to the first field that the type does
// not have, or a value that refuses itself.
type walk struct {
	d  *json.Decoder
	b  []byte
	at int64 // where that is; -1: it was not found
}

// value walks one value, and reports whether to go on.
func (w *walk) value(t reflect.Type) bool {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return w.refusing(t)
	}
	token, err := w.d.Token()
	if err != nil {
		return false
	}
	switch token {
	case json.Delim('{'):
		return w.object(t)
	case json.Delim('['):
		return w.array(t)
	}
	return true
}

// refusing walks a value of a type that decodes itself.
func (w *walk) refusing(t reflect.Type) bool {
	var raw json.RawMessage
	if w.d.Decode(&raw) != nil {
		return false
	}
	if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
		w.at = w.d.InputOffset() - int64(len(raw))
		return false
	}
	return true
}

func (w *walk) object(t reflect.Type) bool {
	for w.d.More() {
		token, err := w.d.Token()
		if err != nil {
			return false
		}
		name, _ := token.(string)
		field, known := fieldOf(t, name)
		if !known {
			w.at = w.d.InputOffset() - 1
			return false
		}
		if !w.value(field) {
			return false
		}
	}
	_, err := w.d.Token()
	return err == nil
}

func (w *walk) array(t reflect.Type) bool {
	var of reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		of = t.Elem()
	}
	for w.d.More() {
		if !w.value(of) {
			return false
		}
	}
	_, err := w.d.Token()
	return err == nil
}

// fieldOf returns the type of what an object of type t has by a name, nil where any will do, and false where t
// has no such field.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	switch {
	case t == nil:
		return nil, true
	case t.Kind() == reflect.Map:
		return t.Elem(), true
	case t.Kind() != reflect.Struct:
		return nil, true
	}
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if strings.EqualFold(tag, name) || tag == "" && strings.EqualFold(f.Name, name) {
			return f.Type, true
		}
	}
	return nil, false
}
