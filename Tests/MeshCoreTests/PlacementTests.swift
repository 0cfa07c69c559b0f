import MeshCore
import Testing

@Suite struct PlacementTests {
    static func table(_ names: String...) throws -> PlacementTable {
        PlacementTable(try names.map { PlacementCandidate(name: try NodeName($0)) })
    }

    @Test func orderOfArrivalDoesNotMatter() throws {
        #expect(try Self.table("n1", "n2", "n3") == Self.table("n3", "n1", "n2"))
    }

    @Test func whoLeavesMovesOnlyItsOwnSlotsAndItsBackupInheritsThem() throws {
        let before = try Self.table("n1", "n2", "n3", "n4")
        var after = before
        let gone = try NodeName("n2")
        after.remove(gone)
        #expect(after == (try Self.table("n1", "n3", "n4")))
        for slot in Slot.all {
            let heir = before.primary(of: slot) == gone ? before.backup(of: slot) : before.primary(of: slot)
            #expect(after.primary(of: slot) == heir)
        }
    }

    @Test func theFirstTwoOfTheRankingAreThePrimaryAndTheBackup() throws {
        let table = try Self.table("n1", "n2", "n3", "n4", "n5")
        for slot in Slot.all {
            #expect(table.ranking(of: slot).prefix(2) == [table.primary(of: slot), table.backup(of: slot)].compactMap { $0 }[...])
        }
    }

    @Test func aNodeOfWeightThreeHoldsAboutThreeTimesTheSlots() throws {
        let table = PlacementTable([
            PlacementCandidate(name: try NodeName("small")), PlacementCandidate(name: try NodeName("large"), weight: 3),
        ])
        let large = Slot.all.count { table.primary(of: $0)?.description == "large" }
        #expect((2900...3250).contains(large), "\(large) of 4096")
    }
}
