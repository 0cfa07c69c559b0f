import MeshCore
import MeshMirrors
import MirrorConformance
import Testing

@Suite struct InMemoryMirrorTests {
    @Test(arguments: MirrorClaim.all) func keeps(_ claim: MirrorClaim) async throws {
        try await claim.check(on: InMemoryStore())
    }

    @Test func aFullMirrorRefusesANewSessionAndStillTakesChangesOfAnOldOne() async throws {
        let mirror = InMemoryMirror(recordsMax: 1, wall: { 0 })
        let old = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: 10)
        let new = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: 10)
        try await mirror.merge([old])
        let error = await errorOf { try await mirror.merge([new, old]) }
        #expect(error?.code == .refused && error?.keys.isEmpty == true)
    }

    @Test func aSlowMirrorHasDoneWhatItWasAskedEvenWhenNobodyWaitsAnyMore() async throws {
        let mirror = InMemoryMirror(commandTimeout: .milliseconds(1), wall: { 0 })
        let record = MirrorRecord(key: .random(), entries: [.entry("a", 1)], expiresAt: 10)
        mirror.setFault(.slow(.seconds(1)))
        #expect(await errorOf { try await mirror.merge([record]) }?.code == .timedOut)
        mirror.setFault(nil)
        #expect(try await mirror.load(record.key) == record)
        mirror.setFault(.refusing("no memory left"))
        #expect(await errorOf { try await mirror.merge([record]) } == MirrorError(.refused, "no memory left"))
    }
}

struct InMemoryStore: DisposableStore {
    let mirror = InMemoryMirror(wall: { now() })
    /// What stands between the mirror and whoever asks for one.
    var client: @Sendable (InMemoryMirror) -> any MeshCore.Mirror = { $0 }

    func makeMirror(commandTimeout: Duration) -> any MeshCore.Mirror { client(mirror) }
    func stall() { mirror.setFault(.slow(.seconds(3600))) }
    func resume() { mirror.setFault(nil) }
    func stop() { mirror.setFault(.down) }
    func start() { mirror.setFault(nil) }
    func flush() { mirror.flush() }
    var needsRunning: Bool { false }
    func plantForeignData(under key: SessionKey) { mirror.plantForeignData(under: key) }
    func checkForeignDataIsUntouched(under key: SessionKey) {}

    // Its calls don't notice that a stall has ended.
    func whileSlow(by delay: Duration, _ calls: @Sendable () async throws -> Void) async throws {
        mirror.setFault(.slow(delay))
        defer { mirror.setFault(nil) }
        try await calls()
    }
}
