package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func facts(c torchwood.Checkpoint, n *note.Note) (map[string]any, error) {
	times := map[string]int64{}
	for _, s := range n.Sigs {
		if s.Name == c.Origin {
			continue
		}
		t, err := torchwood.CosignatureTimestamp(s)
		if err != nil {
			return nil, err
		}
		times[s.Name] = t
	}
	return map[string]any{"origin": c.Origin, "size": c.N, "root": c.Hash.String(), "cosigned": times}, nil
}

func (k keys) checkCheckpoint(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, n, err := k.open(data, k.quorum)
	if err != nil {
		return nil, err
	}
	return facts(c, n)
}

func (k keys) open(data []byte, quorum int) (torchwood.Checkpoint, *note.Note, error) {
	policy, err := k.policy(quorum)
	if err != nil {
		return torchwood.Checkpoint{}, nil, err
	}
	return torchwood.VerifyCheckpoint(data, policy)
}

// openLog reads a log's files from a folder, over HTTP, or out of an exported file without unpacking it.
func openLog(source string) (torchwood.TileReader, error) {
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		return torchwood.NewTileFetcher(source, torchwood.WithConcurrencyLimit(4))
	}
	files := os.DirFS(source)
	if file, folder, found := strings.Cut(source, ".atoll-ledger:"); found {
		archive, err := zip.OpenReader(file + ".atoll-ledger")
		if err != nil {
			return nil, err
		}
		if files, err = fs.Sub(archive, folder); err != nil {
			return nil, err
		}
	}
	return torchwood.NewTileFS(files)
}

// memory keeps tiles as read. Who reads them checks them against the signed root each time.
type memory struct {
	torchwood.TileReader
	tiles map[tlog.Tile][]byte
}

func (m memory) ReadTiles(ctx context.Context, tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, t := range tiles {
		if _, known := m.tiles[t]; !known {
			data, err := m.TileReader.ReadTiles(ctx, []tlog.Tile{t})
			if err != nil {
				return nil, err
			}
			m.tiles[t] = data[0]
		}
		found[i] = m.tiles[t]
	}
	return found, nil
}

// checkLog verifies the checkpoint, every entry with an inclusion proof computed from the tiles, and the consistency
// of the older checkpoints with the newest.
func (k keys) checkLog(source string, older []string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	reader, err := openLog(source)
	if err != nil {
		return nil, err
	}
	data, err := reader.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return nil, err
	}
	c, n, err := k.open(data, k.quorum)
	if err != nil {
		return nil, err
	}
	found, err := facts(c, n)
	if err != nil {
		return nil, err
	}
	kept := memory{reader, map[tlog.Tile][]byte{}}
	client, err := torchwood.NewClient(kept)
	if err != nil {
		return nil, err
	}
	hashes := torchwood.TileHashReaderWithContext(ctx, c.Tree, kept)
	root, err := tlog.TreeHash(c.N, hashes)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if root != c.Hash {
		return nil, fmt.Errorf("the tiles do not have the signed root")
	}
	var count int64
	for i, entry := range client.AllEntries(ctx, c.Tree, 0) {
		proof, err := tlog.ProveRecord(c.N, i, hashes)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if err := tlog.CheckRecord(proof, c.N, c.Hash, i, tlog.RecordHash(entry)); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		count++
	}
	if err := client.Err(); err != nil {
		return nil, err
	}
	if count != c.N {
		return nil, fmt.Errorf("%d entries in a log of %d", count, c.N)
	}
	for _, file := range older {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		old, _, err := k.open(data, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		proof, err := tlog.ProveTree(c.N, old.N, hashes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := tlog.CheckTree(proof, c.N, c.Hash, old.N, old.Hash); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	found["entries"], found["older"] = count, len(older)
	return found, nil
}

// proofs are proofs that were computed elsewhere. Inclusion is in the form of C2SP tlog-proof.
type proofs struct {
	Inclusion []struct {
		Entry []byte `json:"entry"`
		Proof string `json:"proof"`
	} `json:"inclusion"`
	Consistency []struct {
		Old   string   `json:"old"`
		New   string   `json:"new"`
		Proof [][]byte `json:"proof"`
	} `json:"consistency"`
}

func (k keys) checkProofs(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var given proofs
	if err := json.Unmarshal(data, &given); err != nil {
		return nil, err
	}
	policy, err := k.policy(k.quorum)
	if err != nil {
		return nil, err
	}
	for i, item := range given.Inclusion {
		if err := torchwood.VerifyProof(policy, tlog.RecordHash(item.Entry), []byte(item.Proof)); err != nil {
			return nil, fmt.Errorf("inclusion %d: %w", i, err)
		}
	}
	for i, item := range given.Consistency {
		old, _, err := k.open([]byte(item.Old), 0)
		if err != nil {
			return nil, fmt.Errorf("consistency %d: %w", i, err)
		}
		c, _, err := k.open([]byte(item.New), k.quorum)
		if err != nil {
			return nil, fmt.Errorf("consistency %d: %w", i, err)
		}
		var proof tlog.TreeProof
		for _, value := range item.Proof {
			if len(value) != tlog.HashSize {
				return nil, fmt.Errorf("consistency %d: a hash has %d bytes", i, len(value))
			}
			proof = append(proof, tlog.Hash(value))
		}
		if err := tlog.CheckTree(proof, c.N, c.Hash, old.N, old.Hash); err != nil {
			return nil, fmt.Errorf("consistency %d: %w", i, err)
		}
	}
	return map[string]any{"inclusion": len(given.Inclusion), "consistency": len(given.Consistency)}, nil
}
