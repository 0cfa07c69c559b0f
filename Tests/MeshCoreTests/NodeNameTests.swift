import Testing

@testable import MeshCore

@Suite struct NodeNameTests {
    /// Shorter and longer than the part that is compared first, with and without a difference in it.
    private static let texts = [
        "-", "A", "a", "n1", "n10", "n2", "web-eu1", "web-eu-1", "web-eu-2", "web-eu-10", "web-eu-1.", "web-eu-1a", "web-eu-1-replica",
    ]

    @Test func namesAreInTheOrderOfTheirBytes() throws {
        let names = try Self.texts.map { try NodeName($0) }.sorted()
        #expect(names.map(\.description) == Self.texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
    }

    @Test func namesAreEqualWhenTheirTextsAre() throws {
        for one in Self.texts {
            for two in Self.texts {
                let (first, second) = (try NodeName(one), try #require(NodeName(bytes: Array(two.utf8)[...])))
                #expect((first == second) == (one == two))
                #expect((Set([first, second]).count == 1) == (one == two))
            }
        }
    }
}
