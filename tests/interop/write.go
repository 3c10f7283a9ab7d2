package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// request says what log to write. Seeds are hex, entries base64; a checkpoint is signed at each of the sizes.
type request struct {
	Origin      string   `json:"origin"`
	Seed        string   `json:"seed"`
	Witness     string   `json:"witness"`
	WitnessSeed string   `json:"witness_seed"`
	Entries     [][]byte `json:"entries"`
	Sizes       []int64  `json:"sizes"`
}

// made are the proofs of a written log: for every entry in the newest tree, and from each size to the newest.
type made struct {
	Inclusion   []tlog.RecordProof       `json:"inclusion"`
	Consistency map[int64]tlog.TreeProof `json:"consistency"`
}

type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(s)) {
			return nil, fmt.Errorf("hash %d is not stored", index)
		}
		found[i] = s[index]
	}
	return found, nil
}

func key(seed string) (ed25519.PrivateKey, error) {
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != ed25519.SeedSize {
		return nil, fmt.Errorf("a seed is 32 bytes in hex")
	}
	return ed25519.NewKeyFromSeed(raw), nil
}

// noteSigner is the x/mod signer of a seed, by way of its encoded form.
func noteSigner(name string, private ed25519.PrivateKey) (note.Signer, error) {
	public := append([]byte{1}, private.Public().(ed25519.PublicKey)...)
	id := sha256.Sum256(append([]byte(name+"\n"), public...))
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, private.Seed()...))
	return note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%x+%s", name, id[:4], secret))
}

func put(folder, name string, data []byte) error {
	path := filepath.Join(folder, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func write(from, folder string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var asked request
	if err := json.Unmarshal(data, &asked); err != nil {
		return err
	}
	owner, err := key(asked.Seed)
	if err != nil {
		return err
	}
	signer, err := noteSigner(asked.Origin, owner)
	if err != nil {
		return err
	}
	witness, err := key(asked.WitnessSeed)
	if err != nil {
		return err
	}
	cosigner, err := torchwood.NewCosignatureSigner(asked.Witness, witness)
	if err != nil {
		return err
	}

	var hashes stored
	for i, entry := range asked.Entries {
		more, err := tlog.StoredHashes(int64(i), entry, hashes)
		if err != nil {
			return err
		}
		hashes = append(hashes, more...)
	}
	size := int64(len(asked.Entries))
	for _, n := range append(asked.Sizes, size) {
		root, err := tlog.TreeHash(n, hashes)
		if err != nil {
			return err
		}
		c := torchwood.Checkpoint{Origin: asked.Origin, Tree: tlog.Tree{N: n, Hash: root}}
		signed, err := note.Sign(&note.Note{Text: c.String()}, signer, cosigner)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("cosigned/%d", n)
		if n == size {
			name = "checkpoint"
		}
		if err := put(folder, name, signed); err != nil {
			return err
		}
	}

	for _, t := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		data, err := tlog.ReadTileData(t, hashes)
		if err != nil {
			return err
		}
		if err := put(folder, torchwood.TilePath(t), data); err != nil {
			return err
		}
		if t.L != 0 {
			continue
		}
		var bundle []byte
		first := t.N * torchwood.TileWidth
		for _, entry := range asked.Entries[first : first+int64(t.W)] {
			if bundle, err = torchwood.AppendTileEntry(bundle, entry); err != nil {
				return err
			}
		}
		t.L = -1
		if err := put(folder, torchwood.TilePath(t), bundle); err != nil {
			return err
		}
	}

	result := made{Consistency: map[int64]tlog.TreeProof{}}
	for i := range size {
		proof, err := tlog.ProveRecord(size, i, hashes)
		if err != nil {
			return err
		}
		result.Inclusion = append(result.Inclusion, proof)
	}
	for _, n := range asked.Sizes {
		if n == 0 {
			continue
		}
		if result.Consistency[n], err = tlog.ProveTree(size, n, hashes); err != nil {
			return err
		}
	}
	if data, err = json.Marshal(result); err != nil {
		return err
	}
	return put(folder, "proofs.json", data)
}
