// Package chart draws bar charts as SVG files that stand on their own: no script, no font or style from elsewhere,
// light or dark as the reader's system is, and with their figures in words for those who do not see them.
package chart

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// A Chart is groups of horizontal bars, all to the same scale from 0.
type Chart struct {
	// Title says what is shown, Subtitle its unit and conditions.
	Title, Subtitle string
	Groups          []Group
}

// A Group is bars that are compared with each other.
type Group struct {
	Name string
	Bars []Bar
}

// A Bar is one figure.
type Bar struct {
	Label string
	// Amount is the bar's length, at least 0, and Text what stands beside it.
	Amount float64
	Text   string
	// Strong sets the bar off from the others.
	Strong bool
}

// Sizes are in pixels at the width of a README.
const (
	width      = 840
	margin     = 24
	barLeft    = 144
	barRight   = 700 // leaves room for a figure behind the longest bar
	barHeight  = 14
	rowHeight  = 21
	groupSpace = 30 // with the group's name in it
	headHeight = 62
	minBar     = 1.5 // so that the shortest bar is still seen
)

//go:embed style.css
var style string

// Write draws the chart.
func (c Chart) Write(w io.Writer) error {
	var b bytes.Buffer
	height := c.height()
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", escaped(c.Title), escaped(c.description()))
	fmt.Fprintf(&b, "<style>\n%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="page" x="0.5" y="0.5" width="%d" height="%d" rx="8"/>`+"\n", width-1, height-1)
	text(&b, "title", margin, 32, c.Title)
	text(&b, "note", margin, 52, c.Subtitle)
	scale := c.scale()
	y := headHeight
	for _, g := range c.Groups {
		text(&b, "group", margin, y+20, g.Name)
		y += groupSpace
		for _, bar := range g.Bars {
			bar.write(&b, y, scale)
			y += rowHeight
		}
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (b Bar) write(out *bytes.Buffer, y int, scale float64) {
	label, shape := "label", "bar"
	if b.Strong {
		label, shape = "label strong", "bar strong"
	}
	length := max(b.Amount*scale, minBar)
	text(out, label, margin, y+barHeight-3, b.Label)
	fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", shape, barLeft, y, length, barHeight)
	text(out, label, barLeft+int(length)+8, y+barHeight-3, b.Text)
}

func (c Chart) height() int {
	height := headHeight + margin/2
	for _, g := range c.Groups {
		height += groupSpace + len(g.Bars)*rowHeight
	}
	return height
}

// scale is how many pixels one unit is long.
func (c Chart) scale() float64 {
	var longest float64
	for _, g := range c.Groups {
		for _, bar := range g.Bars {
			longest = max(longest, bar.Amount)
		}
	}
	if longest == 0 {
		return 0
	}
	return (barRight - barLeft) / longest
}

// description says in words what the bars show.
func (c Chart) description() string {
	var b strings.Builder
	b.WriteString(c.Subtitle)
	for _, g := range c.Groups {
		for i, bar := range g.Bars {
			if i == 0 {
				fmt.Fprintf(&b, ". %s: ", g.Name)
			} else {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", bar.Label, bar.Text)
		}
	}
	b.WriteByte('.')
	return b.String()
}

func text(b *bytes.Buffer, class string, x, y int, s string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, escaped(s))
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
