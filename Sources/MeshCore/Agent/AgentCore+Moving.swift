// A session that is given another id, as is due at a login.
//
// The owner of the old id does it in one go. It waits until what was committed has its copies, and lets nothing be committed behind it; makes the new
// session, wherever that lives; and then ends the old one, which says where it went. What fails before the end leaves the old id good, so that
// nobody is logged out by it. Who asks again under the same commit id is told where it went; whoever still comes by the old id may read, for
// ten seconds, what it was before the move: whoever planted that id learns nothing that was written after.

/// A move under way, at the owner of the old id.
struct Move: Sendable {
    /// The operation that asked for it.
    let number: UInt64
    let commit: SessionCommit
    let to: SessionKey
    let draw: UInt64
    /// Whether the new session was asked for; until then commits of the old one wait for their copies.
    var isMaking = false
    /// What it was made of.
    var taken: SessionState?
    /// Operations that would change the old one.
    var behind: [UInt64] = []
}

extension AgentCore {
    /// A new id for a session.
    mutating func mintSuccessor(of key: SessionKey, by commit: CommitID) -> (SessionKey, draw: UInt64)? {
        guard let cookies else { return nil }
        var draw = secrets.next().prefix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        let minted = mint {
            draw &+= 1
            return cookies.successor(of: key, by: commit, draw: draw)
        }
        return minted.map { ($0.1, draw) }
    }

    /// Puts an operation behind the move of its session, if there is one that it is not itself.
    mutating func waitsForMove(_ number: UInt64, of key: SessionKey) -> Bool {
        guard let move = moves[key], move.number != number else { return false }
        moves[key]?.behind.append(number)
        return true
    }

    mutating func move(_ number: UInt64, _ key: SessionKey, _ commit: SessionCommit, to successor: SessionKey, draw: UInt64) {
        guard let entry = slots[Int(key.slot.rawValue)].sessions[key] else { return }
        if let moved = entry.state.moved, moved.commit == commit.id, !entry.state.isBuried {
            // Its end may still wait for a copy.
            guard !waitsForCopies(number, of: key) else { return }
            // What became of the commit is known where the session is now.
            moves[key] = Move(number: number, commit: commit, to: moved.to, draw: moved.draw, isMaking: true)
            begin(.commit(moved.to, commit), for: .move(key, number))
            return
        }
        guard !entry.state.isDestroyed else { return finish(number, .failed(Self.noSuchSession)) }
        moves[key] = Move(number: number, commit: commit, to: successor, draw: draw)
        resumeMove(of: key)
    }

    /// Nothing of the old session waits for a copy any more.
    mutating func resumeMove(of key: SessionKey) {
        guard let move = moves[key], !move.isMaking, let entry = slots[Int(key.slot.rawValue)].sessions[key], !isPending(key) else {
            return
        }
        guard !entry.state.isDestroyed else {
            // The other side of a cut had ended it: what is made of it now would be born ended.
            moves[key] = nil
            for number in [move.number] + move.behind { route(number) }
            return
        }
        moves[key]?.isMaking = true
        moves[key]?.taken = entry.state
        var state = entry.state
        state.commits = []
        begin(.create(move.to, move.commit, state), for: .move(key, move.number))
    }

    /// The new session is made, or is not.
    mutating func moveWent(on key: SessionKey, for mover: UInt64, _ result: OperationResult) {
        guard let move = moves[key], move.number == mover else { return }
        moves[key] = nil
        let index = Int(key.slot.rawValue)
        if case .committed(let copies, let counters) = result, let before = slots[index].sessions[key]?.state {
            if before.isDestroyed {
                finish(mover, .moved(to: move.to, draw: move.draw, copies: copies.nodes, counters: counters))
            } else {
                let ended = SessionState.Move(commit: move.commit.id, to: move.to, draw: move.draw)
                let wall = wall
                if let delta = slots[index].sessions[key]?.state.end(ended, wall: wall) {
                    self.counters.moved += 1
                    hold(
                        mover, key, move.commit.id, delta, former: .session(before), counters: counters, copiesMax: copies.nodes,
                        event: .moved(to: move.to))
                }
                // The other side of a cut may have handed in something meanwhile.
                if var taken = move.taken {
                    _ = taken.end(ended, wall: wall)
                    carry(taken, before)
                }
            }
        } else {
            switch result {
            case .failed, .conflict: finish(mover, result)
            default: finish(mover, .failed(Self.noSuchSession))
            }
        }
        for number in move.behind { route(number) }
    }

    /// Another owner is asked for them, from the beginning.
    mutating func abandonMoves(in slot: Slot) {
        for (key, move) in moves.sorted(by: { $0.key < $1.key }) where key.slot == slot {
            moves[key] = nil
            park(move.number)
            for number in move.behind { park(number) }
        }
    }
}
