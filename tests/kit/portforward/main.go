// A node's end of port-forward: the kubelet's own streaming code, and behind it what containerd does with each stream.
//
// The folder of -pods has a link for each pod, named NAMESPACE_NAME, to its network namespace; it is read at each
// connection, so a pod that goes or comes needs no restart. A stream ends in localhost:PORT inside that namespace.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
)

// What a runtime allows the other direction after the first one has ended.
const linger = time.Second

type node struct {
	pods      string
	halfClose bool
}

func (n node) PortForward(ctx context.Context, pod string, _ types.UID, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := dialInside(filepath.Join(n.pods, pod), port)
	if err != nil {
		return fmt.Errorf("failed to execute portforward in network namespace of %s: %w", pod, err)
	}
	defer conn.Close()
	toPod, fromPod := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		if n.halfClose {
			conn.(*net.TCPConn).CloseWrite()
		}
		toPod <- err
	}()
	go func() {
		_, err := io.Copy(stream, conn)
		fromPod <- err
	}()
	if n.halfClose {
		select {
		case err = <-fromPod:
		case <-ctx.Done():
		}
		return err
	}
	var other chan error
	select {
	case err = <-toPod:
		other = fromPod
	case err = <-fromPod:
		other = toPod
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case second := <-other:
		if err == nil {
			err = second
		}
	case <-time.After(linger):
	case <-ctx.Done():
	}
	return err
}

// Dials one family after the other, as a runtime does: racing them would leave the thread that is in the namespace.
func dialInside(namespace string, port int32) (net.Conn, error) {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(own)
	inside, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("failed to find sandbox %q in store: not found", filepath.Base(namespace))
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(inside)
	runtime.LockOSThread()
	if err := unix.Setns(inside, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, v4 := dialer.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if v4 != nil {
		var v6 error
		if conn, v6 = dialer.Dial("tcp6", fmt.Sprintf("[::1]:%d", port)); v6 != nil {
			err = fmt.Errorf("IPv4: %v IPv6: %v", v4, v6)
		}
	}
	// A thread that cannot go back stays locked, and so ends with its goroutine.
	if unix.Setns(own, unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return conn, err
}

// As a kubelet without a certificate of its own does; an API server without --kubelet-certificate-authority takes it.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func main() {
	listen := flag.String("listen", ":10250", "address and port")
	pods := flag.String("pods", "", "folder with a link to each pod's network namespace, NAMESPACE_NAME")
	halfClose := flag.Bool("half-close", false, "pass a client's half-close on, which no runtime does")
	refuse := flag.String("refuse", "", "the forms that are refused: spdy, websocket, or both with a comma")
	flag.Parse()
	certificate, err := selfSigned()
	if err != nil {
		log.Fatal(err)
	}
	refused := strings.Split(*refuse, ",")
	http.HandleFunc("/portForward/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		for _, form := range refused {
			if form != "" && strings.HasPrefix(strings.ToLower(r.Header.Get("Upgrade")), form) {
				http.Error(w, "unable to upgrade: "+form+" is switched off", http.StatusBadRequest)
				return
			}
		}
		pod := r.PathValue("namespace") + "_" + r.PathValue("name")
		if _, err := os.Lstat(filepath.Join(*pods, pod)); err != nil {
			http.Error(w, "pod does not exist", http.StatusNotFound)
			return
		}
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, node{*pods, *halfClose}, pod, "", options, 4*time.Hour, 30*time.Second, portforward.SupportedProtocols)
	})
	server := &http.Server{
		Addr:         *listen,
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{certificate}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/2 has no upgrade
	}
	log.Fatal(server.ListenAndServeTLS("", ""))
}
