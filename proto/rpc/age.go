package rpc

// HeaderAge is on responses to reads with ConsistencyLocal: how many milliseconds ago the server last heard from the one
// that leads. What is older than that may be missing in the answer.
const HeaderAge = "Gestor-Age"
