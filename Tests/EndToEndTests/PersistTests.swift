import Foundation
import Hummingbird
import SessionMesh
import SessionMeshHummingbird
import Testing

/// What Hummingbird's own tests ask of every persist driver, and a few claims more, of its driver in memory and of ours.
struct PersistClaim: Sendable {
    let name: String
    /// `other` is the same store by way of another node.
    let check: @Sendable (_ driver: any PersistDriver, _ other: any PersistDriver, _ key: String) async throws -> Void

    struct Pair: Codable, Equatable, Sendable { var left: String }

    static let all = [
        PersistClaim(name: "what was set is got") { driver, other, key in
            try await driver.set(key: key, value: "Persist")
            #expect(try await other.get(key: key, as: String.self) == "Persist")
        },
        PersistClaim(name: "what was created is got") { driver, other, key in
            try await driver.create(key: key, value: "Persist")
            #expect(try await other.get(key: key, as: String.self) == "Persist")
        },
        PersistClaim(name: "what is there can't be created") { driver, other, key in
            try await driver.create(key: key, value: "first")
            await #expect(throws: PersistError.duplicate) { try await other.create(key: key, value: "second") }
            #expect(try await driver.get(key: key, as: String.self) == "first")
        },
        PersistClaim(name: "the last value set counts") { driver, other, key in
            try await driver.set(key: key, value: "test1")
            try await other.set(key: key, value: "test2")
            #expect(try await driver.get(key: key, as: String.self) == "test2")
        },
        PersistClaim(name: "an expired value is gone, and others are not") { driver, other, key in
            try await driver.set(key: key, value: "ThisIsTest1", expires: .seconds(0))
            try await driver.set(key: key + "2", value: "ThisIsTest2", expires: .seconds(60))
            try await awaiting("it has expired") { try await other.get(key: key, as: String.self) == nil }
            #expect(try await other.get(key: key + "2", as: String.self) == "ThisIsTest2")
        },
        PersistClaim(name: "the time that is left is told") { driver, other, key in
            try await driver.set(key: key, value: "x", expires: .seconds(60))
            let left = try #require(try await other.getWithTTL(key: key, as: String.self)?.ttl)
            #expect(left <= .seconds(62) && left > .seconds(1))
            try await driver.set(key: key + "2", value: "x")
            let forever = try #require(try await other.getWithTTL(key: key + "2", as: String.self))
            #expect(forever.object == "x" && forever.ttl == nil)
        },
        PersistClaim(name: "a value set without a time keeps the time it has") { driver, other, key in
            try await driver.set(key: key, value: "x", expires: .seconds(60))
            try await other.set(key: key, value: "y")
            let kept = try #require(try await driver.getWithTTL(key: key, as: String.self))
            #expect(kept.object == "y" && kept.ttl.map { $0 <= .seconds(62) } == true)
        },
        PersistClaim(name: "any codable value will do") { driver, other, key in
            try await driver.set(key: key, value: Pair(left: "Persist"))
            #expect(try await other.get(key: key, as: Pair.self) == Pair(left: "Persist"))
        },
        PersistClaim(name: "a value of another type can't be got") { driver, other, key in
            try await driver.set(key: key, value: Pair(left: "hello"))
            await #expect(throws: PersistError.invalidConversion) { try await other.get(key: key, as: String.self) }
        },
        PersistClaim(name: "what was removed is gone and can be made again") { driver, other, key in
            try await driver.set(key: key, value: "ThisIsTest1", expires: .seconds(60))
            try await other.remove(key: key)
            #expect(try await driver.get(key: key, as: String.self) == nil)
            try await driver.remove(key: key)
            try await driver.create(key: key, value: "ThisIsTest2")
            let again = try #require(try await other.getWithTTL(key: key, as: String.self))
            #expect(again.object == "ThisIsTest2" && again.ttl == nil)
        },
        PersistClaim(name: "what was never there is nil, and may be removed") { driver, _, key in
            #expect(try await driver.get(key: key, as: String.self) == nil)
            try await driver.remove(key: key)
        },
    ]
}

@Suite(.serialized) struct PersistTests {
    private func check(_ claims: [PersistClaim], _ driver: any PersistDriver, _ other: any PersistDriver) async {
        for claim in claims {
            do { try await claim.check(driver, other, UUID().uuidString) } catch { Issue.record("\(claim.name): \(error)") }
        }
    }

    @Test func theDriverInMemoryKeepsTheClaims() async {
        let driver = MemoryPersistDriver()
        await check(PersistClaim.all, driver, driver)
    }

    @Test func theMeshKeepsTheClaimsAndOutlivesTheDeathOfANode() async throws {
        try await ShopMesh.run { shop in
            let drivers = shop.nodes.map { MeshPersistDriver($0.mesh) }
            let fromBoth =
                PersistClaim.all + [
                    PersistClaim(name: "what has expired can be made again") { driver, other, key in
                        try await driver.create(key: key, value: "ThisIsTest1", expires: .seconds(0))
                        try await awaiting("it has expired") { try await other.get(key: key, as: String.self) == nil }
                        try await driver.create(key: key, value: "ThisIsTest2")
                        try await other.set(key: key, value: "ThisIsTest3")
                        let again = try #require(try await driver.getWithTTL(key: key, as: String.self))
                        #expect(again.object == "ThisIsTest3" && again.ttl == nil)
                    },
                    PersistClaim(name: "of many who create at one moment one does") { driver, other, key in
                        let made = try await withThrowingTaskGroup(of: Bool.self) { group in
                            for index in 0..<20 {
                                group.addTask {
                                    do {
                                        try await (index % 2 == 0 ? driver : other).create(key: key, value: index)
                                        return true
                                    } catch let error as PersistError where error == .duplicate {
                                        return false
                                    }
                                }
                            }
                            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
                        }
                        #expect(made == 1)
                    },
                ]
            await check(fromBoth, drivers[0], drivers[1])
            let keys = (0..<20).map { "kept-\($0)" }
            for key in keys { try await drivers[0].set(key: key, value: key, expires: .seconds(600)) }
            shop.nodes[0].agent.signal(SIGKILL)
            for key in keys {
                try await awaiting("\(key) is there") {
                    do {
                        return try await drivers[1].get(key: key, as: String.self) == key
                    } catch let error as SessionError where error.isRetriable {
                        return false
                    }
                }
            }
        }
    }
}
