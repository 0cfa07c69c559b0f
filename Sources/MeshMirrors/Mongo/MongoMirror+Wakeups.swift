#if MongoDB
    import MeshCore
    import NIOPosix
    import Synchronization

    // Those who wait for items are woken by a change stream on the collection of items where there is a set, and then an append costs
    // nothing for it. A server by itself has none: there an append also inserts into a capped collection, which is followed by a tailable
    // cursor. Either says only that somebody should look again.
    //
    //     sessionmesh.wakeups    {s: slot}    capped; of a server by itself alone
    extension MongoMirror {
        private static let wakeupsCollection = "sessionmesh.wakeups"
        /// Room for more than a thousand announcements; those who fall behind look at all slots again.
        private static let wakeupsBytes: Int32 = 64 << 10
        private static let listenDelay = Duration.milliseconds(200)
        /// For so long a mirror that stops may wait for the thread that listens. Less asks MongoDB more often whether there is news.
        private static let listenPatience = Duration.milliseconds(250)

        /// Finds out whether this is a set, or the way into several, and sees to what a server by itself needs instead of a change stream.
        func prepareWakeups() async throws(MirrorError) {
            if try await asksForSet() { return }
            // The first insert would make one that grows without end.
            let isThere: UInt32 = 48
            _ = try await command(
                ["create": .string(Self.wakeupsCollection), "capped": true, "size": .int32(Self.wakeupsBytes)], writes: true,
                except: isThere)
            let reply = try await command(["listCollections": 1, "filter": ["name": .string(Self.wakeupsCollection)]], writes: false)
            let isCapped = reply["cursor"]?.document?["firstBatch"]?.array?.values?.first?.document?["options"]?.document?["capped"]
            if isCapped != .bool(true) {
                _ = try await command(
                    ["convertToCapped": .string(Self.wakeupsCollection), "size": .int32(Self.wakeupsBytes)], writes: true)
            }
            // A cursor ends at once where there is nothing to read.
            _ = try await command(["insert": .string(Self.wakeupsCollection), "documents": [["s": -1]]], writes: true)
        }

        private func asksForSet() async throws(MirrorError) -> Bool {
            let answer = try await topology().isSet
            isSet.withLock { $0 = answer }
            return answer
        }

        /// Wakes those who wait for items of a slot, where the items themselves don't.
        func announce(_ slot: Slot) async throws(MirrorError) {
            let known = isSet.withLock { $0 }
            let isSet: Bool = if let known { known } else { try await asksForSet() }
            guard !isSet else { return }
            _ = try await command(
                ["insert": .string(Self.wakeupsCollection), "documents": [["s": .int32(Int32(slot.rawValue))]]], writes: true)
        }

        /// Wakes those who wait, from the first of them on, on a thread of its own.
        func keepListening() async {
            let isStopped = Atomic(false)
            let pool = NIOThreadPool(numberOfThreads: 1)
            pool.start()
            // Well within the time after which the library takes a silent socket for a broken one.
            let patience = min(configuration.commandTimeout / 2, Self.listenPatience)
            await withTaskCancellationHandler {
                var resumption = MongoResumption()
                for await _ in wakeups.wanted() { break }
                while !Task.isCancelled {
                    if let feed = try? await feed(after: resumption.token) {
                        let end = try? await pool.runIfActive { [connections, wakeups] in
                            connections.follow(feed, patience: patience) { event in
                                let goesOn = feed.pass(event, to: wakeups)
                                return goesOn && !isStopped.load(ordering: .relaxed)
                            }
                        }
                        if let end { resumption.note(end) }
                    }
                    try? await Task.sleep(for: Self.listenDelay)
                }
            } onCancel: {
                isStopped.store(true, ordering: .relaxed)
            }
            // Throws for pools that others use too; this one is ours.
            try? await pool.shutdownGracefully()
        }

        private func feed(after token: BSONDocument?) async throws(MirrorError) -> MongoFeed {
            try await prepareWakeups()
            return isSet.withLock({ $0 }) == true ? .inserts(into: Self.items, after: token) : .capped(Self.wakeupsCollection)
        }
    }

    extension MongoFeed {
        /// Wakes whom an event is for; false when nothing will come after it.
        fileprivate func pass(_ event: Event, to wakeups: Wakeups) -> Bool {
            switch (self, event) {
            case (_, .silence), (.inserts(_, .some), .opened): return true
            case (_, .opened):
                wakeups.announce(nil)
                return true
            case (.capped, .document(let document)):
                wakeups.announce(document["s"]?.integer.flatMap { UInt16(exactly: $0) }.flatMap(Slot.init(rawValue:)))
                return true
            case (.inserts, .document(let event)):
                // The collection was dropped: all logs begin anew, and the stream has ended.
                let isEnded = event["operationType"] != .string("insert")
                wakeups.announce(isEnded ? nil : event["documentKey"]?.document?["_id"]?.binary.flatMap(Slot.init(ofItem:)))
                return !isEnded
            }
        }
    }
#endif
