// A price server in Go: net/http, sync.Map, and the same checks as our lane makes for every request.
//
//	http_peer ADDRESS KEY BODY_FILE ready|encode
//
// Bearer key looked up by its id and judged by HMAC-SHA256 of the whole, token bucket, atomic count, RateLimit
// fields, ETag, request id, and the same JSON body: with "ready" rendered once, as ours is; with "encode" by
// encoding/json for every request.
package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Price is what the body holds.
type Price struct {
	Asset       string   `json:"asset"`
	Quote       string   `json:"quote"`
	Price       string   `json:"price"`
	State       string   `json:"state"`
	Confidence  string   `json:"confidence"`
	SpreadBps   string   `json:"spreadBps"`
	SourceCount int      `json:"sourceCount"`
	Sources     []string `json:"sources"`
	Method      string   `json:"method"`
	Tier        string   `json:"tier"`
	VenueTime   string   `json:"venueTime"`
	ReceiveTime string   `json:"receiveTime"`
	FreshUntil  string   `json:"freshUntil"`
	StaleAt     string   `json:"staleAt"`
	Sequence    string   `json:"sequence"`
	Epoch       string   `json:"epoch"`
	Failover    bool     `json:"failover"`
	Sandbox     bool     `json:"sandbox"`
}

type entry struct {
	price    *Price
	rendered []byte
	length   string
	etag     string
}

type key struct {
	digest [sha256.Size]byte
	lock   sync.Mutex
	tokens float64
	filled time.Time
	count  atomic.Uint64
}

const (
	rate  = 10_000_000.0
	burst = 100_000_000.0
)

var (
	prices, keys sync.Map
	pepper       = []byte("a pepper of thirty-two bytes.....")
	hashers      = sync.Pool{New: func() any { return hmac.New(sha256.New, pepper) }}
	policy       = fmt.Sprintf(`"rate";q=%d;w=%d`, int(burst), int(burst/rate))
	requests     atomic.Uint64
	seed         uint64
)

func digest(text string) (sum [sha256.Size]byte) {
	hasher := hashers.Get().(hash.Hash)
	hasher.Reset()
	hasher.Write([]byte(text))
	hasher.Sum(sum[:0])
	hashers.Put(hasher)
	return sum
}

// take takes a token; what is left, or -1 when there is none.
func (held *key) take(now time.Time) int64 {
	held.lock.Lock()
	defer held.lock.Unlock()
	held.tokens += now.Sub(held.filled).Seconds() * rate
	if held.tokens > burst {
		held.tokens = burst
	}
	held.filled = now
	if held.tokens < 1 {
		return -1
	}
	held.tokens--
	return int64(held.tokens)
}

func refuse(answer http.ResponseWriter, status int) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(status)
	fmt.Fprintf(answer, `{"code": %d}`, status)
}

func keyID(text string) string {
	parts := strings.SplitN(text, "_", 4)
	if len(parts) != 4 {
		return ""
	}
	return parts[2]
}

func handler(encode bool) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		text := request.Header.Get("Authorization")
		if !strings.HasPrefix(text, "Bearer ") {
			refuse(answer, http.StatusUnauthorized)
			return
		}
		text = text[len("Bearer "):]
		found, ok := keys.Load(keyID(text))
		if !ok {
			refuse(answer, http.StatusUnauthorized)
			return
		}
		held, sum := found.(*key), digest(text)
		if subtle.ConstantTimeCompare(sum[:], held.digest[:]) != 1 {
			refuse(answer, http.StatusUnauthorized)
			return
		}
		left := held.take(time.Now())
		if left < 0 {
			refuse(answer, http.StatusTooManyRequests)
			return
		}
		found, ok = prices.Load(request.URL.Query().Get("asset"))
		if !ok {
			refuse(answer, http.StatusNotFound)
			return
		}
		price := found.(*entry)
		held.count.Add(1)
		header := answer.Header()
		var id [16]byte
		binary.BigEndian.PutUint64(id[:8], seed)
		binary.BigEndian.PutUint64(id[8:], requests.Add(1))
		header["Ratelimit-Policy"] = []string{policy}
		header["Ratelimit"] = []string{`"rate";r=` + strconv.FormatInt(left, 10) + ";t=0"}
		header["X-Request-Id"] = []string{hex.EncodeToString(id[:])}
		header["Content-Type"] = []string{"application/json"}
		header["Cache-Control"] = []string{"private, max-age=1"}
		header["X-Content-Type-Options"] = []string{"nosniff"}
		header["Etag"] = []string{price.etag}
		if request.Header.Get("If-None-Match") == price.etag {
			answer.WriteHeader(http.StatusNotModified)
			return
		}
		if !encode {
			header["Content-Length"] = []string{price.length}
			answer.Write(price.rendered)
			return
		}
		body, err := json.Marshal(price.price)
		if err != nil {
			refuse(answer, http.StatusInternalServerError)
			return
		}
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
		answer.Write(body)
	}
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: http_peer ADDRESS KEY BODY_FILE ready|encode")
	}
	body, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	price := &Price{}
	if err := json.Unmarshal(body, price); err != nil {
		log.Fatal(err)
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		log.Fatal(err)
	}
	seed = binary.BigEndian.Uint64(random[:])
	prices.Store(price.Asset, &entry{price, body, strconv.Itoa(len(body)), `"` + price.Sequence + `"`})
	keys.Store(keyID(os.Args[2]), &key{digest: digest(os.Args[2]), tokens: burst, filled: time.Now()})
	http.HandleFunc("/price", handler(os.Args[4] == "encode"))
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
