import MeshCore

extension MirrorClaim {
    /// What happens while a store is slow, silent or gone, and how its return is noticed.
    static let ofFaults = [
        Self("a slow answer is an answer, and each call gets its own") { store in
            try await withMirror(on: store) { mirror in
                let (later, delay) = (inHalfAnHour(), Duration.milliseconds(300))
                let records = (0..<8).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0), "\($0)")], expiresAt: later) }
                try await mirror.merge(records)
                let start = ContinuousClock.now
                try await store.whileSlow(by: delay) {
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for (index, record) in records.enumerated() {
                            group.addTask {
                                if index < 4 { return try expect(await mirror.load(record.key), is: record) }
                                var change = record
                                change.entries = [.entry("n", 1000 + UInt64(index), "changed")]
                                try await mirror.merge([change])
                                try expect(await mirror.load(record.key), is: change)
                            }
                        }
                        try await group.waitForAll()
                    }
                }
                // Else nothing was slow.
                let elapsed = ContinuousClock.now - start
                try expect(elapsed >= delay, "\(delay) of waiting at least", saw: elapsed)
            }
        },
        Self("a stalled mirror times out, and the answers after it are its own") { store in
            try await withMirror(on: store, commandTimeout: .milliseconds(500)) { mirror in
                let later = inHalfAnHour()
                let records = (0..<8).map { MirrorRecord(key: .random(), entries: [.entry("n", UInt64($0), "\($0)")], expiresAt: later) }
                try await eventually("a mirror that takes records") { try await mirror.merge(records) }
                try await store.stall()
                let start = ContinuousClock.now
                let errors = await withTaskGroup(of: MirrorError?.self) { group in
                    for record in records.prefix(4) { group.addTask { try? await failure { _ = try await mirror.load(record.key) } } }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                let elapsed = ContinuousClock.now - start
                try await store.resume()
                try expect(errors.allSatisfy { $0?.code == .timedOut }, "four calls that time out", saw: errors)
                // How much later a loaded machine notices says nothing about the mirror.
                try expect(elapsed > .milliseconds(400), "a wait of half a second", saw: elapsed)
                try await eventually("a mirror that answers again") { _ = try await mirror.load(records[7].key) }
                for _ in 0..<20 {
                    for record in records.reversed() {
                        do {
                            try expect(await mirror.load(record.key), is: record)
                        } catch is MirrorError {
                            // A loaded machine may well time out here; what must never happen is another's answer.
                        }
                    }
                }
            }
        },
        Self("a mirror that is gone is unreachable at once, and works again when it is back") { store in
            try await withMirror(on: store) { mirror in
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: inHalfAnHour())
                try await mirror.merge([record])
                try await store.stop()
                try await expect(.unreachable) { try await mirror.merge([record]) }
                try await expect(.unreachable) { _ = try await mirror.load(record.key) }
                try await store.start()
                try await eventually("a mirror that is back") { try await mirror.merge([record]) }
                try expect(await mirror.load(record.key), is: record)
            }
        },
        Self("a mirror that nobody runs any more says so, and does what it did when it is run again") { store in
            let mirror = try store.makeMirror(commandTimeout: .seconds(30))
            let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: inHalfAnHour())
            let slot = Slot(masking: 1)
            let mark = try await mirror.whileRunning { mirror in
                try await mirror.merge([record])
                return try await mirror.append([[1]], to: slot)
            }
            if store.needsRunning { try await expect(.unreachable) { try await mirror.merge([record]) } }
            try await mirror.whileRunning { mirror in
                try await eventually("a mirror that runs again") { try expect(await mirror.load(record.key), is: record) }
                async let tail = mirror.tail(slot, after: mark, waiting: .seconds(60))
                try await mirror.append([[2]], to: slot)
                try expect(await tail.items.map(\.payload), is: [[2]])
            }
        },
        Self("a visitor is told what it left last, and that the mirror was emptied") { store in
            try await withMirror(on: store) { mirror in
                let (n1, n2) = (try NodeName("n1"), try NodeName("n2.example"))
                let first = try await mirror.visit(7, by: n1)
                try expect(first.last == nil && first.generation != 0, "a first visit", saw: first)
                func expectVisit(_ number: UInt64, by name: NodeName, finds last: UInt64?, line: Int = #line) async throws {
                    let expected = MirrorVisit(generation: first.generation, last: last)
                    try expect(await mirror.visit(number, by: name), is: expected, line: line)
                }
                try await expectVisit(1_800_000_000_000, by: n1, finds: 7)
                try await expectVisit(9, by: n2, finds: nil)
                // Older data came back, or an older self: both see it.
                try await expectVisit(3, by: n1, finds: 1_800_000_000_000)
                try await expectVisit(8, by: n1, finds: 3)
                try await store.flush()
                let after = try await mirror.visit(10, by: n2)
                try expect(
                    after.generation != first.generation && after.last == nil, "another generation than \(first.generation)", saw: after)
            }
        },
        Self("a store that was emptied has nothing, and takes what is merged again") { store in
            try await withMirror(on: store) { mirror in
                let user = UserKey.random()
                let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: inHalfAnHour(), user: user)
                var loaded = record
                loaded.user = nil
                try await mirror.merge([record])
                try await store.flush()
                try expect(await mirror.load(record.key), is: nil)
                try expect(await mirror.sessions(of: user), is: [])
                try await mirror.merge([record])
                try expect(await mirror.load(record.key), is: loaded)
                try expect(await mirror.sessions(of: user), is: [record.key])
            }
        },
        // Some stores keep what they had, and some lose it, or the last of it.
        Self("a visitor of a store that has come back finds what it left only where nothing is lost") { store in
            try await withMirror(on: store) { mirror in
                let name = try NodeName("n1")
                let later = inHalfAnHour()
                let records = (0..<20).map { MirrorRecord(key: .random(), entries: [.entry("n", $0)], expiresAt: later) }
                try await mirror.merge(records)
                let left = try await mirror.visit(7, by: name).generation
                try await store.stop()
                try await store.start()
                try await eventually("a mirror that is back") { _ = try await mirror.load(records[0].key) }
                let visit = try await mirror.visit(8, by: name)
                for record in records where try await mirror.load(record.key) != record {
                    try expect(
                        visit.generation != left || visit.last != 7,
                        "another generation than \(left), or another number than 7, as session \(record.key) is lost", saw: visit)
                }
            }
        },
    ]
}
