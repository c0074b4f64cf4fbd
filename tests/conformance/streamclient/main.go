// streamclient is the client of a streaming URL that kubectl is: client-go's remotecommand and portforward, with the URL
// that Exec, Attach or PortForward answered.
//
//	streamclient run [FLAGS] URL             exec or attach; standard files are the streams
//	streamclient forward [FLAGS] URL PORT    listens on a port of 127.0.0.1, which it prints, until its input ends
//
// run exits as the command does; with 125 and "ERROR ..." on its standard error output when the session failed.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

const failed = 125

// sizes are lines "WIDTH HEIGHT" of a descriptor.
type sizes struct{ lines *bufio.Scanner }

func (s sizes) Next() *remotecommand.TerminalSize {
	if !s.lines.Scan() {
		return nil
	}
	size := &remotecommand.TerminalSize{}
	if _, err := fmt.Sscan(s.lines.Text(), &size.Width, &size.Height); err != nil {
		return nil
	}
	return size
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "ERROR %v\n", err)
	os.Exit(failed)
}

type flags struct {
	set                             *flag.FlagSet
	protocol, ca, cert, key, server string
	subprotocol                     string
	stdin, stdout, stderr, tty      bool
	sizesFd                         int
}

func parse(name string, arguments []string) *flags {
	f := &flags{set: flag.NewFlagSet(name, flag.ExitOnError)}
	f.set.StringVar(&f.protocol, "protocol", "spdy", "spdy or websocket")
	f.set.StringVar(&f.subprotocol, "subprotocol", "", "only this version of the remote command protocol")
	f.set.StringVar(&f.ca, "ca", "", "PEM of the authority of the server")
	f.set.StringVar(&f.cert, "cert", "", "PEM of the client's certificate")
	f.set.StringVar(&f.key, "key", "", "PEM of its key")
	f.set.StringVar(&f.server, "server-name", "", "the server's name in its certificate")
	f.set.BoolVar(&f.stdin, "stdin", false, "send standard input")
	f.set.BoolVar(&f.stdout, "stdout", false, "receive standard output")
	f.set.BoolVar(&f.stderr, "stderr", false, "receive standard error output")
	f.set.BoolVar(&f.tty, "tty", false, "the command has a terminal")
	f.set.IntVar(&f.sizesFd, "sizes-fd", -1, "descriptor with lines 'WIDTH HEIGHT'")
	if err := f.set.Parse(arguments); err != nil {
		fail(err)
	}
	return f
}

func (f *flags) config() *rest.Config {
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{
		CAFile: f.ca, CertFile: f.cert, KeyFile: f.key, ServerName: f.server}}
}

func (f *flags) executor(address *url.URL) (remotecommand.Executor, error) {
	if f.protocol == "websocket" {
		protocols := []string{"v5.channel.k8s.io", "v4.channel.k8s.io"}
		if f.subprotocol != "" {
			protocols = []string{f.subprotocol}
		}
		return remotecommand.NewWebSocketExecutorForProtocols(f.config(), http.MethodGet, address.String(), protocols...)
	}
	if f.subprotocol == "" {
		return remotecommand.NewSPDYExecutor(f.config(), http.MethodPost, address)
	}
	transport, upgrader, err := spdy.RoundTripperFor(f.config())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewSPDYExecutorForProtocols(transport, upgrader, http.MethodPost, address, f.subprotocol)
}

func run(f *flags, address *url.URL) {
	executor, err := f.executor(address)
	if err != nil {
		fail(err)
	}
	options := remotecommand.StreamOptions{Tty: f.tty}
	if f.stdin {
		options.Stdin = os.Stdin
	}
	if f.stdout {
		options.Stdout = os.Stdout
	}
	if f.stderr {
		options.Stderr = os.Stderr
	}
	if f.sizesFd >= 0 {
		options.TerminalSizeQueue = sizes{bufio.NewScanner(os.NewFile(uintptr(f.sizesFd), "sizes"))}
	}
	err = executor.StreamWithContext(context.Background(), options)
	var code exec.CodeExitError
	if errors.As(err, &code) {
		os.Exit(code.Code)
	}
	if err != nil {
		fail(err)
	}
}

func (f *flags) dialer(address *url.URL) (httpstream.Dialer, error) {
	if f.protocol == "websocket" {
		return portforward.NewSPDYOverWebsocketDialer(address, f.config())
	}
	transport, upgrader, err := spdy.RoundTripperFor(f.config())
	if err != nil {
		return nil, err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, address), nil
}

func forward(f *flags, address *url.URL, port string) {
	dialer, err := f.dialer(address)
	if err != nil {
		fail(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + port}, stop, ready,
		io.Discard, os.Stderr)
	if err != nil {
		fail(err)
	}
	go func() {
		<-ready
		ports, err := forwarder.GetPorts()
		if err != nil {
			fail(err)
		}
		fmt.Println(ports[0].Local)
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	if err := forwarder.ForwardPorts(); err != nil {
		fail(err)
	}
}

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("usage: streamclient run|forward [FLAGS] URL [PORT]"))
	}
	f := parse(os.Args[1], os.Args[2:])
	address, err := url.Parse(f.set.Arg(0))
	if err != nil {
		fail(err)
	}
	switch os.Args[1] {
	case "run":
		run(f, address)
	case "forward":
		forward(f, address, f.set.Arg(1))
	default:
		fail(errors.New("neither run nor forward"))
	}
}
