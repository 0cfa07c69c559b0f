public import MeshCore

/// A store, as far as a ``MirrorClaim/NonDestructive`` needs it: mirrors are made on it.
public protocol MirrorStore: Sendable {
    /// Another client of the one store. Whoever asked for it runs it.
    /// - Parameter commandTimeout: how long a call waits for its answer. Claims that aren't about time ask for 30 seconds, so that a loaded
    ///   machine doesn't break them.
    func makeMirror(commandTimeout: Duration) throws -> any MeshCore.Mirror

    /// Calls that a mirror takes at a time, the ones that wait included. Default 400.
    var callsAtOnce: Int { get }
}

/// A store that is there for the claims alone, with a hand on its power switch.
///
/// Each claim is to have a new and empty one: it is stopped, emptied, and left as the claim left it.
public protocol DisposableStore: MirrorStore {
    /// From now on calls are taken and not answered, as by a process after SIGSTOP.
    func stall() async throws
    /// Ends a stall. Calls that came meanwhile are answered.
    func resume() async throws
    /// Ends the store, and with it perhaps what it held. Returns when nothing answers any more.
    func stop() async throws
    /// Begins it anew, where it was. Returns when it answers.
    func start() async throws
    /// Empties it while it runs.
    func flush() async throws

    /// Runs `calls` while the first answers take `delay` more than they would. Default: stalls the store for so long.
    func whileSlow(by delay: Duration, _ calls: @Sendable () async throws -> Void) async throws

    /// Whether a mirror that nobody runs can do nothing. Default true.
    var needsRunning: Bool { get }

    /// Puts under the place of a session's record what no mirror has put there.
    func plantForeignData(under key: SessionKey) async throws
    /// - Throws: when what was planted isn't what it was.
    func checkForeignDataIsUntouched(under key: SessionKey) async throws
}

extension MirrorStore {
    public var callsAtOnce: Int { 400 }
}

extension DisposableStore {
    public var needsRunning: Bool { true }

    public func whileSlow(by delay: Duration, _ calls: @Sendable () async throws -> Void) async throws {
        try await stall()
        async let resumed: Void = {
            // When the calls have thrown, nobody waits any more.
            try? await Task.sleep(for: delay)
            try await resume()
        }()
        try await calls()
        try await resumed
    }
}

extension MeshCore.Mirror {
    /// Runs the mirror for as long as `body` takes; its connections are closed when this returns.
    @discardableResult
    public func whileRunning<Answer>(_ body: (any MeshCore.Mirror) async throws -> Answer) async throws -> Answer {
        let run = Task { await self.run() }
        let outcome: Result<Answer, any Error>
        do { outcome = .success(try await body(self)) } catch { outcome = .failure(error) }
        run.cancel()
        await run.value
        return try outcome.get()
    }
}

/// Runs a new mirror on `store` for as long as `body` takes.
func withMirror(
    on store: any MirrorStore, commandTimeout: Duration = .seconds(30),
    _ body: @escaping @Sendable (any MeshCore.Mirror) async throws -> Void
) async throws {
    try await store.makeMirror(commandTimeout: commandTimeout).whileRunning(body)
}
