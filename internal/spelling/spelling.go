// Package spelling suggests corrections of misspelt words.
package spelling

import "strings"

// Nearest returns the candidate with the fewest edits from word (bytes inserted,
// deleted, replaced or swapped with the next), or "" if all need more than one edit
// for each three bytes of word, and more than one. A candidate that starts with word
// counts as one edit away. The first of several equal candidates is returned, and ""
// for a word of one byte.
func Nearest(word string, candidates []string) string {
	best, least := "", max(len(word)/3, 1)+1
	if len(word) < 2 {
		return ""
	}
	for _, c := range candidates {
		if len(word)-len(c) >= least { // each byte more is an edit; the word may be very long
			continue
		}
		d := distance(word, c)
		if len(word) > 2 && strings.HasPrefix(c, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}

// distance returns how many bytes must be inserted, deleted, replaced or swapped with
// the next one (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			d := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				d = 1 + min(d, rows[i-1][j], rows[i][j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
