// Interop checks logs in C2SP encodings with implementations that share no code with Atoll: golang.org/x/mod/sumdb
// and filippo.io/torchwood. It also writes such logs, for Atoll to check.
//
//	interop checkpoint KEYS FILE...     signed checkpoints
//	interop log KEYS [-older FILE] LOG...   whole logs: a folder, a URL, or EXPORT.atoll-ledger:FOLDER
//	interop proofs KEYS FILE...         proofs that another implementation computed, as JSON
//	interop write REQUEST FOLDER        a log with checkpoints, cosignatures and proofs
//	interop agent SOCKET SEED           an SSH agent with one Ed25519 key, for litewitness
//
// KEYS is -log VKEY, any number of -witness VKEY, and -quorum N: how many of the witnesses must have cosigned.
// For each argument that is checked one line of JSON is printed; the exit status is 1 if any was refused.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// keys are what the caller trusts.
type keys struct {
	log       string
	witnesses list
	quorum    int
}

// policy is the C2SP tlog-policy of the keys, read by torchwood. Without a quorum the log's signature is enough.
func (k keys) policy(quorum int) (torchwood.Policy, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "log %s\n", k.log)
	names := make([]string, len(k.witnesses))
	for i, vkey := range k.witnesses {
		names[i] = fmt.Sprintf("w%d", i)
		fmt.Fprintf(&text, "witness %s %s\n", names[i], vkey)
	}
	if quorum == 0 {
		text.WriteString("quorum none\n")
	} else {
		fmt.Fprintf(&text, "group needed %d %s\nquorum needed\n", quorum, strings.Join(names, " "))
	}
	return torchwood.ParsePolicy([]byte(text.String()))
}

// report prints the outcome for one argument.
func report(subject string, facts map[string]any, err error) bool {
	if facts == nil {
		facts = map[string]any{}
	}
	facts["subject"], facts["ok"] = subject, err == nil
	if err != nil {
		facts["error"] = err.Error()
	}
	line, _ := json.Marshal(facts)
	fmt.Println(string(line))
	return err == nil
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do: checkpoint, log, proofs, write or agent")
	}
	command := arguments[0]
	var trusted keys
	var older list
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&trusted.log, "log", "", "verifier key of the log's owner")
	flags.Var(&trusted.witnesses, "witness", "verifier key of a witness; may be repeated")
	flags.IntVar(&trusted.quorum, "quorum", 0, "number of witnesses that must have cosigned")
	flags.Var(&older, "older", "an older checkpoint of the same log; may be repeated")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	rest := flags.Args()
	switch {
	case command == "write" && len(rest) == 2:
		return write(rest[0], rest[1])
	case command == "agent" && len(rest) == 2:
		return serveAgent(rest[0], rest[1])
	case len(rest) == 0 || trusted.log == "":
		return fmt.Errorf("%s: a key or something to check is missing", command)
	}
	check, known := map[string]func(string) (map[string]any, error){
		"checkpoint": trusted.checkCheckpoint,
		"log":        func(source string) (map[string]any, error) { return trusted.checkLog(source, older) },
		"proofs":     trusted.checkProofs,
	}[command]
	if !known {
		return fmt.Errorf("unknown command %q", command)
	}
	good := true
	for _, subject := range rest {
		facts, err := check(subject)
		good = report(subject, facts, err) && good
	}
	if !good {
		os.Exit(1)
	}
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(2)
	}
}
