package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// serveAgent holds one key for a witness until standard input ends, and prints the key's fingerprint.
func serveAgent(socket, seed string) error {
	private, err := key(seed)
	if err != nil {
		return err
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Println(ssh.FingerprintSHA256(public))
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, connection)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
