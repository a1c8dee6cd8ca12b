// A Go program to be profiled: it computes until it is killed.
package main

var sink int

//go:noinline
func burnLeaf(n int) {
	for i := 0; i < n; i++ {
		sink += i * i
	}
}

func main() {
	for {
		burnLeaf(1000000)
	}
}
