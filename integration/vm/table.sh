#!/bin/bash
# table.sh LOG...: which test ran where. Each LOG is the output of `go test -v`, and a column, named after its file.
# Fails when a test failed somewhere, or was skipped wherever it was met.
set -euo pipefail

exec awk '
  function cell(text, width) { return sprintf("%-" width "s", text) }
  function name(path) { gsub(/.*\/|\.log$/, "", path); return path }
  BEGIN {
    longest = 4
    for (c = 1; c < ARGC; c++) columns[c] = name(ARGV[c])
  }
  /^ *--- (PASS|FAIL|SKIP): / {
    if (!($3 in seen)) tests[++height] = $3
    seen[$3] = 1
    if (length($3) > longest) longest = length($3)
    verdict[$3, name(FILENAME)] = tolower($2)
  }
  END {
    line = cell("test", longest)
    for (c = 1; c < ARGC; c++) line = line "  " cell(columns[c], 4)
    print line
    for (t = 1; t <= height; t++) {
      passed = failed = 0
      line = cell(tests[t], longest)
      for (c = 1; c < ARGC; c++) {
        v = substr(verdict[tests[t], columns[c]], 1, 4)
        passed += v == "pass"
        failed += v == "fail"
        line = line "  " cell(v == "" ? "-" : v, length(columns[c]) > 4 ? length(columns[c]) : 4)
      }
      if (failed) line = line "  FAILED"
      else if (!passed) line = line "  RAN NOWHERE"
      bad += failed || !passed
      print line
    }
    exit bad > 0
  }' "$@"
