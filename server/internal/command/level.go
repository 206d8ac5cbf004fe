package command

// Level is the newest set of commands this program understands.
const Level = 1
