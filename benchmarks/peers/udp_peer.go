// A datagram server in Go: one packet a call (ReadFromUDPAddrPort, WriteToUDPAddrPort), sync.Map.
//
//	udp_peer ADDRESS text                        GET BTC USD id=1 -> OK 1 BTC 67000.10 USD 1767322800 6 F
//	udp_peer ADDRESS binary SESSION KEY PAYLOAD  the binary form of docs/udp.md with its MAC both ways
//
// SESSION and KEY are hexadecimal, PAYLOAD is a file with the payload of every answer. The binary form
// checks time and MAC, takes each sequence once (a window of 64), counts, and signs its answer.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"log"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	head     = 28
	mac      = 16
	largest  = 1232
	response = 1
	withMAC  = 2
)

type price struct {
	value   string
	seconds int64
	sources int64
	payload []byte
}

type session struct {
	hasher hash.Hash
	newest uint32
	seen   uint64
	count  atomic.Uint64
}

var (
	prices, sessions sync.Map
	answered         atomic.Uint64
)

// take says whether a sequence comes for the first time (RFC 4303, section 3.4.3).
func (one *session) take(sequence uint32) bool {
	if sequence > one.newest {
		if ahead := sequence - one.newest; ahead < 64 {
			one.seen = one.seen<<ahead | 1
		} else {
			one.seen = 1
		}
		one.newest = sequence
		return true
	}
	behind := one.newest - sequence
	if behind >= 64 || one.seen&(1<<behind) != 0 {
		return false
	}
	one.seen |= 1 << behind
	return true
}

func (one *session) sign(into []byte, parts ...[]byte) []byte {
	one.hasher.Reset()
	for _, part := range parts {
		one.hasher.Write(part)
	}
	return one.hasher.Sum(into)
}

func answerText(datagram, out []byte) []byte {
	fields := bytes.Fields(datagram)
	if len(fields) < 4 || string(fields[0]) != "GET" || string(fields[2]) != "USD" || !bytes.HasPrefix(fields[3], []byte("id=")) {
		return nil
	}
	found, ok := prices.Load(string(fields[1]))
	if !ok {
		return nil
	}
	one := found.(*price)
	answered.Add(1)
	out = append(append(append(out, "OK "...), fields[3][3:]...), ' ')
	out = append(append(append(append(out, fields[1]...), ' '), one.value...), " USD "...)
	out = strconv.AppendInt(out, one.seconds, 10)
	out = strconv.AppendInt(append(out, ' '), one.sources, 10)
	return append(out, " F*\n"...)
}

func answerBinary(datagram, out []byte) []byte {
	if len(datagram) < head+mac+2 || datagram[0] != 0xf1 || datagram[1]&response != 0 {
		return nil
	}
	away := time.Now().Unix() - int64(binary.BigEndian.Uint32(datagram[20:]))
	if away > 30 || away < -30 {
		return nil
	}
	found, ok := sessions.Load(binary.BigEndian.Uint64(datagram[12:]))
	if !ok {
		return nil
	}
	one, signed, given := found.(*session), datagram[:len(datagram)-mac], datagram[len(datagram)-mac:]
	var sum [sha256.Size]byte
	if !hmac.Equal(one.sign(sum[:0], []byte("q"), signed)[:mac], given) {
		return nil
	}
	if !one.take(binary.BigEndian.Uint32(datagram[24:])) {
		return nil
	}
	payload := signed[head:]
	if payload[0] != 0x0a || len(payload) < 2+int(payload[1]) {
		return nil
	}
	asset, ok := prices.Load(string(payload[2 : 2+payload[1]]))
	if !ok {
		return nil
	}
	one.count.Add(1)
	out = append(out, datagram[:head]...)
	out[1] |= response | withMAC
	out = append(out, asset.(*price).payload...)
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)+mac))
	return append(out, one.sign(sum[:0], []byte("r"), given, out)[:mac]...)
}

func main() {
	if len(os.Args) < 3 || (os.Args[2] == "binary" && len(os.Args) != 6) {
		log.Fatal("usage: udp_peer ADDRESS text | udp_peer ADDRESS binary SESSION KEY PAYLOAD")
	}
	answer, one := answerText, &price{value: "67000.10", seconds: time.Now().Unix(), sources: 6}
	if os.Args[2] == "binary" {
		id, err := strconv.ParseUint(os.Args[3], 16, 64)
		if err != nil {
			log.Fatal(err)
		}
		secret, err := hex.DecodeString(os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		if one.payload, err = os.ReadFile(os.Args[5]); err != nil {
			log.Fatal(err)
		}
		sessions.Store(id, &session{hasher: hmac.New(sha256.New, secret)})
		answer = answerBinary
	}
	prices.Store("BTC", one)
	where, err := net.ResolveUDPAddr("udp4", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	socket, err := net.ListenUDP("udp4", where)
	if err != nil {
		log.Fatal(err)
	}
	if err := socket.SetReadBuffer(4 << 20); err != nil {
		log.Fatal(err)
	}
	in, out := make([]byte, largest+1), make([]byte, 0, largest)
	for {
		size, from, err := socket.ReadFromUDPAddrPort(in)
		if err != nil {
			log.Fatal(err)
		}
		if reply := answer(in[:size], out[:0]); reply != nil {
			if _, err := socket.WriteToUDPAddrPort(reply, from); err != nil {
				log.Print(err)
			}
		}
	}
}
