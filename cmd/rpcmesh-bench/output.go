package main

import (
	"io"
	"os"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
)

func readReport(file string) (*report.Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return report.ReadJSON(f)
}

// write writes what the flags ask for.
func write(rep *report.Report, o options, out io.Writer) error {
	if o.save != "" {
		if err := saveReport(rep, o.save); err != nil {
			return err
		}
	}
	if o.charts != "" {
		if err := rep.WriteCharts(o.charts); err != nil {
			return err
		}
	}
	if o.document != "" {
		if err := rep.WriteDocument(o.document); err != nil {
			return err
		}
	}
	if o.json {
		return rep.WriteJSON(out)
	}
	return rep.WriteText(out)
}

func saveReport(rep *report.Report, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := rep.WriteJSON(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
