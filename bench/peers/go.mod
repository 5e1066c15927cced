module rhone/bench/peers

go 1.19

require (
	github.com/go-chi/chi/v5 v5.0.7
	github.com/prometheus/client_golang v1.14.0
	github.com/rs/zerolog v1.26.1
	golang.org/x/time v0.3.0
)
