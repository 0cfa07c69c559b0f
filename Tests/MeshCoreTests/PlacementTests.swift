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

    /// Two builds that disagree about one slot would look for its sessions in two places. The figures come from a second
    /// implementation, in another language.
    @Test func goldenValuesHoldPlacementStill() throws {
        var table = try Self.table("n1", "n2", "n4", "n5")
        table.insert(PlacementCandidate(name: try NodeName("n3"), weight: 2))
        let rankings: [(UInt16, String)] = [
            (0, "n3 n1 n4 n2 n5"),
            (1, "n3 n4 n5 n2 n1"),
            (17, "n2 n4 n3 n5 n1"),
            (2048, "n2 n1 n3 n4 n5"),
            (4095, "n3 n2 n4 n5 n1"),
        ]
        for (slot, names) in rankings {
            #expect(table.ranking(of: Slot(masking: slot)).map(\.description).joined(separator: " ") == names)
        }
        var holders = ""
        for slot in Slot.all {
            holders += "\(try #require(table.primary(of: slot))) \(try #require(table.backup(of: slot)))\n"
        }
        #expect(Mix.hash(holders.utf8) == 0x5AD9_B3CA_676E_2DE1)
        #expect([Slot(channel: "chat").rawValue, Slot(channel: "räume/1").rawValue] == [798, 1170])
    }
}
