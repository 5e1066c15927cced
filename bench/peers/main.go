// A ping in Go with what a service of that language usually has: chi as the router, a token bucket per address from
// x/time/rate, Prometheus metrics, and one JSON line per request.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

var duration = promauto.NewHistogramVec(prometheus.HistogramOpts{
	Name: "http_request_duration_seconds", Help: "Durations of requests.",
}, []string{"method", "path", "status"})

// observed writes the line of a request and counts it, by the pattern of its route.
func observed(log zerolog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			next.ServeHTTP(wrapped, r)
			route, elapsed := chi.RouteContext(r.Context()).RoutePattern(), time.Since(began)
			duration.WithLabelValues(r.Method, route, strconv.Itoa(wrapped.Status())).Observe(elapsed.Seconds())
			log.Info().Str("reqId", middleware.GetReqID(r.Context())).Str("method", r.Method).Str("route", route).
				Int("status", wrapped.Status()).Dur("responseTime", elapsed).Msg("request")
		})
	}
}

// limited refuses an address that has used up its bucket.
func limited(next http.Handler) http.Handler {
	var limiters sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		limiter, known := limiters.Load(host)
		if !known {
			limiter, _ = limiters.LoadOrStore(host, rate.NewLimiter(1e9, 1e9))
		}
		if !limiter.(*rate.Limiter).Allow() {
			http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

func main() {
	router := chi.NewRouter()
	log := zerolog.New(os.Stdout).With().Timestamp().Logger()
	router.Use(middleware.RequestID, observed(log), middleware.Recoverer, secured, limited)
	router.Handle("/metrics", promhttp.Handler())
	router.Get("/api/v1/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Write([]byte(`{"pong":true}`))
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := &http.Server{Handler: router, ReadHeaderTimeout: 10 * time.Second}
	stopped, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	go func() {
		<-stopped.Done()
		server.Shutdown(context.Background())
	}()
	fmt.Fprintf(os.Stderr, "ready at http://%s\n", listener.Addr())
	server.Serve(listener)
}
