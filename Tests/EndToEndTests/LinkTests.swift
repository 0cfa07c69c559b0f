import Foundation
import Testing

/// What an executable pulls in.
@Suite struct LinkTests {
    private static let stores = ["hiredis", "memcached", "mongoc"]

    private func libraries(of path: String) throws -> [String] {
        let ldd = try Program("/usr/bin/ldd", [path])
        try eventually("ldd ends") { ldd.exitCode != nil }
        try #require(ldd.exitCode == 0)
        return ldd.lines
    }

    @Test func anApplicationThatLinksSessionMeshPullsInNoStore() throws {
        let linked = try libraries(of: Program.path(of: "sessionmesh-demo"))
        #expect(linked.contains { $0.contains("libc.so") })
        #expect(!linked.contains { line in Self.stores.contains { line.contains($0) } })
    }

    @Test func anAgentBuiltWithoutTraitsLinksNoStore() throws {
        let path = try Program.path(of: "../../without-stores/sessionmesh")
        #expect(!(try libraries(of: path)).contains { line in Self.stores.contains { line.contains($0) } })
    }

    @Test(arguments: ["hiredis", "memcached"]) func anAgentLinksTheStoresByDefault(_ store: String) throws {
        #expect(try libraries(of: Program.path(of: "sessionmesh")).contains { $0.contains(store) })
    }
}
