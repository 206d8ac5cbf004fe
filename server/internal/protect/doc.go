// Package protect answers what keeps a prepared deployment from its switch: approvals that are missing, and freezes.
//
// It reads and judges, and changes nothing: the deploy loop asks it before it gives out a switch, the state machine asks it
// again when the switch is proposed, and the API asks it to tell people.
//
// Guarantees. Whoever asked for a deployment is never among those whose approval counts, whichever way they came, nor is
// anybody who may not approve at the moment of the question: who was blocked, lost the role, or does not see the app any
// more. An approval counts for what it was given for only. Approvals are judged by the state alone; freezes need a clock and
// the tables of time zones, so the state machine leaves those to the one who proposes, and checks that they were judged by
// the protections that it has itself.
package protect
