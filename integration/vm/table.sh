#!/bin/bash
# table.sh LOG...: which test ran where. Each LOG is the output of `go test -v`, and a column, named after its file.
# Fails when a test failed somewhere, or was skipped wherever it was met.
set -euo pipefail

exec awk '
  FNR == 1 {
    column = FILENAME
    gsub(/.*\/|\.log$/, "", column)
    columns[++width] = column
  }
  /^ *--- (PASS|FAIL|SKIP): / {
    if (!($3 in seen)) tests[++height] = $3
    seen[$3] = 1
    if (length($3) > longest) longest = length($3)
    verdict[$3, column] = substr(tolower($2), 1, 4)
  }
  END {
    printf "%-*s", longest, "test"
    for (c = 1; c <= width; c++) printf "  %-*s", length(columns[c]) > 4 ? length(columns[c]) : 4, columns[c]
    print ""
    for (t = 1; t <= height; t++) {
      passed = failed = 0
      printf "%-*s", longest, tests[t]
      for (c = 1; c <= width; c++) {
        v = verdict[tests[t], columns[c]]
        passed += v == "pass"
        failed += v == "fail"
        printf "  %-*s", length(columns[c]) > 4 ? length(columns[c]) : 4, v == "" ? "-" : v
      }
      note = failed ? "FAILED" : passed ? "" : "RAN NOWHERE"
      bad += note != ""
      print note == "" ? "" : "  " note
    }
    exit bad > 0
  }' "$@"
