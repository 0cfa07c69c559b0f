public import MeshCore

/// One sentence that holds on every mirror, whatever store it is made on, and how to find out whether it does.
///
/// All of them together are the law of ``/MeshCore/Mirror``. Whoever writes a mirror makes its store a ``DisposableStore`` and checks ``all``, each
/// on a new store. Whoever wants to know whether a store that is in use keeps the law checks ``nonDestructive``.
public struct MirrorClaim: Sendable, CustomStringConvertible {
    /// The sentence.
    public let text: String
    private let location: Location
    private let body: @Sendable (any DisposableStore) async throws -> Void

    /// The whole suite: the claims that do no harm, and those that need a store of their own.
    public static let all = nonDestructive.map { claim in MirrorClaim(claim) } + ofRecords + ofLogs + ofFaults

    /// The claims that may be checked on a store in use.
    public static let nonDestructive = NonDestructive.ofRecords + NonDestructive.ofMerges + NonDestructive.ofLogs

    init(
        _ text: String, file: String = #fileID, line: Int = #line,
        _ body: @escaping @Sendable (any DisposableStore) async throws -> Void
    ) {
        self.text = text
        location = Location(file: file, line: line)
        self.body = body
    }

    private init(_ claim: NonDestructive) {
        text = claim.text
        location = claim.location
        body = { store in try await claim.check(on: store) }
    }

    public var description: String { text }

    /// Finds out. Most claims take less than a second, some a few; one of a store that doesn't come back is given up after a minute.
    /// - Throws: ``Broken``, or what `store` throws when it can't do what is asked of it.
    public func check(on store: any DisposableStore) async throws {
        try await judge(text, location) { try await body(store) }
    }

    /// A claim that needs nothing but mirrors, and may be checked on a store in use.
    ///
    /// It names sessions and users by chance, and appends nothing. The records that it merges are removed at its end, also when it is broken;
    /// where that fails, they expire within an hour. So do the users in the index, which nothing removes. It writes ten thousand small
    /// records at most, and none of more than a MiB; a store that has no room evicts, or refuses, as it would for anybody.
    public struct NonDestructive: Sendable, CustomStringConvertible {
        /// The sentence.
        public let text: String
        fileprivate let location: Location
        private let body: @Sendable (any MirrorStore) async throws -> Void

        init(
            _ text: String, file: String = #fileID, line: Int = #line,
            _ body: @escaping @Sendable (any MirrorStore) async throws -> Void
        ) {
            self.text = text
            location = Location(file: file, line: line)
            self.body = body
        }

        public var description: String { text }

        /// Finds out. The clocks of this process and of the store must agree to a second, as mirrors presume.
        /// - Throws: ``Broken``, or what `store` throws when it can't make a mirror.
        public func check(on store: any MirrorStore) async throws {
            try await judge(text, location) {
                let tidy = TidyStore(store)
                let outcome: Result<Void, any Error>
                do { outcome = .success(try await body(tidy)) } catch { outcome = .failure(error) }
                // A task of its own, so that one that was cancelled leaves nothing behind either.
                let tidied = await Task { try await tidy.removeRecords() }.result
                try outcome.get()
                try tidied.get()
            }
        }
    }

    /// What a mirror did that it claims not to, or the other way round.
    public struct Broken: Error, Hashable, Sendable, CustomStringConvertible {
        /// The text of the claim.
        public var claim: String
        public var expected: String
        /// A few hundred characters at most. It may show keys and payloads, which are the claim's own.
        public var seen: String
        /// The error that a call ended with which was to succeed. So a store that can't be reached is told from one that breaks the law.
        public var error: MirrorError?
        /// Where in the suite it was found.
        public var file: String
        public var line: Int

        public var description: String { "\"\(claim)\" doesn't hold: expected \(expected), saw \(seen) (\(file):\(line))" }
    }
}

/// Runs `body`, and names the claim in what speaks against the mirror.
private func judge(_ claim: String, _ location: Location, _ body: () async throws -> Void) async throws {
    do {
        try await body()
    } catch let deviation as Deviation {
        throw MirrorClaim.Broken(
            claim: claim, expected: deviation.expected, seen: deviation.seen, error: deviation.error, file: deviation.location.file,
            line: deviation.location.line)
    } catch let error as MirrorError {
        throw MirrorClaim.Broken(
            claim: claim, expected: "no error", seen: shown(error), error: error, file: location.file, line: location.line)
    }
}
