import Foundation
import Glibc
import Synchronization
import Testing

/// A mesh in front of a real Redis.
@Suite(.serialized) struct MirrorTests {
    @Test func theSessionIsThereWhenTheWholeMeshWasStoppedAndStartedAgain() throws {
        let redis = try RedisServer()
        let keys = try Keys()
        var mesh = try DemoMesh("--mirror", redis.uri, "--key-file", keys.path)
        var browser = Browser(mesh.address)
        _ = try browser.post("/login", "user=ann")
        for expected in 1...5 { #expect(try Count(browser.post("/counter")).count == expected) }
        try mesh.stop()

        mesh = try DemoMesh("--mirror", redis.uri, "--key-file", keys.path)
        defer { try? mesh.stop() }
        var later = Browser(mesh.address, cookie: browser.cookie)
        let count = try Count(later.post("/counter"))
        #expect(count.count == 6)
        #expect(count.user == "ann")
    }

    @Test func whatWasAnsweredOutlivesAllAgentsWhereChangesAreWrittenThrough() throws {
        let redis = try RedisServer()
        let keys = try Keys()
        func mesh() throws -> DemoMesh {
            try DemoMesh("--mirror", redis.uri, "--mirror-mode", "through", "--key-file", keys.path)
        }
        let first = try mesh()
        var browser = Browser(first.address)
        for expected in 1...5 { #expect(try Count(browser.post("/counter")).count == expected) }
        for node in first.nodes { Glibc.kill(node.agent_pid, SIGKILL) }
        try first.stop()

        let second = try mesh()
        defer { try? second.stop() }
        var later = Browser(second.address, cookie: browser.cookie)
        #expect(try Count(later.post("/counter")).count == 6)
    }

    // Ancestors' scenario 45.
    @Test func redisMayDieForTenSecondsUnderLoadAndMissesNothing() throws {
        let redis = try RedisServer()
        let keys = try Keys()
        let mesh = try DemoMesh("--mirror", redis.uri, "--key-file", keys.path)
        defer { try? mesh.stop() }
        try mesh.waitUntilWhole()

        let visitors = (0..<8).map { _ in Visitor(mesh.address) }
        let load = Load(visitors)
        try eventually("the load runs") { visitors.allSatisfy { $0.count > 20 } }
        try redis.kill()
        let outage = ContinuousClock.now
        try eventually("every agent says that the mirror is lost") {
            try mesh.nodes.contains { try HTTP.ask($0.admin, "GET", "/healthz").body.contains("degraded") }
        }
        try eventually("ten seconds have passed", within: 15) { ContinuousClock.now - outage > .seconds(10) }
        try redis.start()
        try eventually("every agent has written what Redis missed") {
            try mesh.nodes.allSatisfy { try mesh.metric("sessionmesh_mirror_dirty", of: $0).map { $0 < 9 } ?? false }
                && !mesh.nodes.contains { (try? HTTP.ask($0.admin, "GET", "/healthz").body.contains("degraded")) ?? true }
        }
        let failures = try load.stop()
        #expect(failures == [], "\(failures.prefix(3))")
        try eventually("nothing is left to write") {
            try mesh.nodes.allSatisfy { try mesh.metric("sessionmesh_mirror_dirty", of: $0) == 0 }
        }
        print("\(visitors.map(\.count).reduce(0, +)) requests, none failed, Redis away for \(ContinuousClock.now - outage)")
        try mesh.stop()

        // What Redis holds is what a mesh that starts from nothing shows.
        let next = try DemoMesh("--mirror", redis.uri, "--key-file", keys.path)
        defer { try? next.stop() }
        for visitor in visitors {
            var browser = Browser(next.address, cookie: visitor.cookie)
            #expect(try Count(browser.get("/counter")).count == visitor.count)
        }
    }

    /// Somebody who counts as fast as the answers come.
    private final class Visitor: Sendable {
        private let state: Mutex<(browser: Browser, count: Int, failures: [String])>

        init(_ address: String) { state = Mutex((Browser(address), 0, [])) }

        var count: Int { state.withLock { $0.count } }
        var cookie: String? { state.withLock { $0.browser.cookie } }
        var failures: [String] { state.withLock { $0.failures } }

        func countOnce() {
            state.withLock { state in
                do {
                    let shown = try Count(state.browser.post("/counter")).count
                    if shown != state.count + 1 { state.failures.append("counted to \(shown) after \(state.count)") }
                    state.count = shown
                } catch { state.failures.append("\(error)") }
            }
        }
    }

    private final class Load: Sendable {
        private let isStopped = Mutex(false)
        private let group = DispatchGroup()
        private let visitors: [Visitor]

        init(_ visitors: [Visitor]) {
            self.visitors = visitors
            for visitor in visitors {
                group.enter()
                Thread.detachNewThread {
                    while !self.isStopped.withLock({ $0 }) {
                        visitor.countOnce()
                        // A person's pace, so that the load leaves the machine room for what is tested.
                        usleep(10_000)
                    }
                    self.group.leave()
                }
            }
        }

        /// What failed, in all that was asked.
        func stop() throws -> [String] {
            isStopped.withLock { $0 = true }
            guard group.wait(timeout: .now() + 30) == .success else { throw Program.Failure(description: "a request hangs") }
            return visitors.flatMap(\.failures)
        }
    }
}
