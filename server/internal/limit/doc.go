// Package limit says how much one party may ask of a server: how often (Rates), how many calls at once (Slots), how many
// streams (Counts). It knows parties by a key and nothing else of them.
//
// Guarantees. Memory is bounded whatever the number of parties: those beyond the bound share one allowance, so that a
// stranger with a million addresses takes nothing from those who were there before. A refusal is an Exhausted fault that
// says when to come again. Everything is safe for concurrent use.
package limit
