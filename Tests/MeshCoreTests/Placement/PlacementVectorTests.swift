import MeshCore
import Testing

/// Where everything lies. Computed in Python from the doc comment's words alone; a change here moves every session of every running mesh.
@Suite struct PlacementVectorTests {
    static let members = [("n1", 1), ("n2", 1), ("n3", 2), ("n4", 1), ("edge-7.example", 4)]

    static func table() throws -> PlacementTable {
        PlacementTable(try members.map { PlacementCandidate(name: try NodeName($0), weight: $1) })
    }

    @Test(arguments: [
        (0, "n3 edge-7.example n1 n4 n2"), (1, "n3 edge-7.example n4 n2 n1"), (2, "n4 edge-7.example n3 n2 n1"),
        (42, "edge-7.example n1 n2 n4 n3"), (1000, "edge-7.example n3 n4 n2 n1"), (2047, "n3 edge-7.example n4 n2 n1"),
        (2048, "edge-7.example n2 n1 n3 n4"), (3333, "n4 edge-7.example n3 n1 n2"), (4094, "n3 n2 edge-7.example n4 n1"),
        (4095, "n3 edge-7.example n2 n4 n1"),
    ])
    func rankingsNeverChange(slot: UInt16, ranking: String) throws {
        let slot = try #require(Slot(rawValue: slot))
        #expect(try Self.table().ranking(of: slot).map(\.description).joined(separator: " ") == ranking)
    }

    @Test func sharesNeverChange() throws {
        let table = try Self.table()
        let shares = Dictionary(grouping: Slot.all) { table.primary(of: $0)?.description ?? "" }.mapValues(\.count)
        #expect(shares == ["n1": 417, "n2": 448, "n3": 935, "n4": 476, "edge-7.example": 1820])
    }

    @Test func changingATableStepByStepGivesTheTableMadeAtOnce() throws {
        var generator = SeededGenerator(seed: 1)
        var table = PlacementTable()
        var weights: [String: Int] = [:]
        for _ in 0..<60 {
            let name = "n\(Int.random(in: 1...7, using: &generator))"
            if weights[name] != nil, Bool.random(using: &generator) {
                weights[name] = nil
                table.remove(try NodeName(name))
            } else {
                let weight = Int.random(in: 1...16, using: &generator)
                weights[name] = weight
                table.insert(PlacementCandidate(name: try NodeName(name), weight: weight))
            }
            #expect(try table == PlacementTable(weights.map { PlacementCandidate(name: try NodeName($0), weight: $1) }))
        }
    }
}
