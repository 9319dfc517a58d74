// Gets a price, reads an error, and follows prices through every cut of the connection.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"os"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pricev1 "trinitybeast/gen/trinity/price/v1"
)

const heartbeat = time.Second

// bearer sends an API key with every call.
type bearer struct {
	key    string
	secure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.key}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }

// dial opens a channel: TLS with a CA, mutual TLS with a certificate too, a key where there is one.
func dial() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithInsecure()} // for this machine only
	ca := os.Getenv("TRINITY_CA")
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: os.Getenv("TRINITY_SERVER_NAME")}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(ca + " holds no certificate")
		}
		if file := os.Getenv("TRINITY_CERT"); file != "" {
			pair, err := tls.LoadX509KeyPair(file, os.Getenv("TRINITY_CERT_KEY"))
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		options = []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	}
	if key := os.Getenv("TRINITY_KEY"); key != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{key, ca != ""}))
	}
	return grpc.Dial(os.Getenv("TRINITY_ADDRESS"), options...)
}

// reason is the error's own word ("STALE_PRICE"), and when to try again; 0 for never.
func reason(err error) (string, time.Duration) {
	said, _ := status.FromError(err)
	word, retry := said.Code().String(), time.Duration(0)
	for _, detail := range said.Details() {
		switch each := detail.(type) {
		case *errdetails.ErrorInfo:
			word = each.Reason
		case *errdetails.RetryInfo:
			delay := each.GetRetryDelay()
			retry = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return word, retry
}

// book is the newest price of each asset, and how far the stream has come.
type book struct {
	prices          map[string]*pricev1.Price
	staged          map[string]*pricev1.Price
	epoch, sequence uint64
}

// take applies one batch: a snapshot of another run of the service replaces everything once it is whole.
func (b *book) take(batch *pricev1.WatchPricesResponse) {
	prices := b.prices
	if batch.Snapshot && batch.Epoch != b.epoch {
		prices = b.staged
	}
	for _, price := range batch.Prices {
		prices[price.Asset] = price
	}
	if batch.Snapshot && !batch.SnapshotComplete {
		return
	}
	if batch.Snapshot && batch.Epoch != b.epoch {
		b.prices, b.staged, b.epoch = b.staged, map[string]*pricev1.Price{}, batch.Epoch
	}
	b.sequence = batch.Sequence
}

// watch follows prices until told returns false; a stream that is lost or silent is opened again and resumed.
func watch(client pricev1.PriceServiceClient, assets []string, told func(*pricev1.Price) bool) error {
	held := &book{prices: map[string]*pricev1.Price{}}
	for failures := 0; ; failures++ {
		err := follow(client, assets, held, func(price *pricev1.Price) bool { failures = 0; return told(price) })
		switch status.Code(err) {
		case codes.OK:
			return nil
		case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated:
			return err // a refusal: asking again changes nothing
		}
		bound := 50 * time.Millisecond << uint(min(failures, 5))
		time.Sleep(time.Duration(rand.Int63n(int64(bound))))
	}
}

func follow(client pricev1.PriceServiceClient, assets []string, held *book, told func(*pricev1.Price) bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	silence := time.AfterFunc(10*time.Second, cancel) // a service that has just started may take a while
	defer silence.Stop()
	held.staged = map[string]*pricev1.Price{}
	stream, err := client.WatchPrices(ctx, &pricev1.WatchPricesRequest{
		Assets:         assets,
		HeartbeatMs:    uint32(heartbeat.Milliseconds()),
		ResumeEpoch:    held.epoch,
		ResumeSequence: held.sequence,
	})
	if err != nil {
		return err
	}
	for {
		batch, err := stream.Recv()
		if err != nil {
			if err == io.EOF {
				return status.Error(codes.Unavailable, "the service ended the stream")
			}
			return err
		}
		silence.Reset(3 * heartbeat)
		held.take(batch)
		for _, price := range batch.Prices {
			if !told(price) {
				return nil
			}
		}
	}
}

func min(one, other int) int {
	if one < other {
		return one
	}
	return other
}

func main() {
	connection, err := dial()
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := pricev1.NewPriceServiceClient(connection)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	got, err := client.GetPrice(ctx, &pricev1.GetPriceRequest{Asset: "BTC", MinSources: 1})
	if err != nil {
		log.Fatal(reason(err))
	}
	fmt.Println("price", got.Price.Asset, got.Price.Price, got.Price.State)

	_, err = client.GetPrice(ctx, &pricev1.GetPriceRequest{Asset: "NOPE"})
	word, retry := reason(err)
	fmt.Println("error", word, status.Code(err), retry)

	left, _ := strconv.Atoi(os.Getenv("TRINITY_CHANGES")) // 0: for ever
	err = watch(client, []string{"BTC", "ETH"}, func(price *pricev1.Price) bool {
		fmt.Println("change", price.Asset, price.Price)
		left--
		return left != 0
	})
	if err != nil {
		log.Fatal(reason(err))
	}
}
