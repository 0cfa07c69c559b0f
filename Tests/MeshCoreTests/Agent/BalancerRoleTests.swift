import Testing

@testable import MeshCore

@Suite struct BalancerRoleTests {
    @Test func aBalancerThatLosesALinkOrIsToldOfSlotsGoesOn() throws {
        var generator = SeededGenerator(seed: 1)
        let now = Moment(uptime: 1, wall: 1_795_000_000_000)
        var balancer = try AgentCore(
            configuration: AgentConfiguration(name: NodeName("b1"), endpoint: .loopback(port: 1), role: .balancer),
            keys: KeyFile.generate(using: &generator), seed: 1, secretSeed: [1, 2, 3], now: now)
        _ = balancer.step(.start, at: now)
        let peer = MemberID(name: try NodeName("n1"), life: Life(rawValue: 7))
        let link = LinkID(rawValue: 1)
        _ = balancer.step(.linkUp(link, peer: peer, endpoint: .loopback(port: 2)), at: now)
        let slot = SlotTenure(slot: Slot(masking: 9), tenure: Tenure(term: 1, owner: peer))
        let messages: [PeerMessage] = [
            .grant([SlotGrant(slot: slot, synced: [])]), .release([slot]), .lead([slot]), .superseded([slot]), .claim([slot.slot]),
            .ack(ticket: 3), .refuse(slot, ticket: 3, .copyNotWhole),
            .claimAnswer(nothing: [slot.slot], held: [slot]), .pull([slot.slot]), .inquire(round: 1, isTakeover: true, [slot]),
            .inquired(round: 1), .whole([slot.slot]), .doubt([SlotDoubt(slot: slot, members: [])]),
            .drop([DroppedSession(slot: slot, key: try Dialogue.key(in: slot.slot))]),
            .compare(SlotRange(first: slot.slot, last: slot.slot), sum: 1), .differs(SlotRange(first: slot.slot, last: slot.slot)),
            .digests([SlotDigest(slot: slot, digest: 1)]), .stale([slot]),
            .sync(ticket: 1, [SyncChunk(slot: slot, isFirst: true, isLast: true, sessions: [])]),
        ]
        for message in messages {
            #expect(balancer.step(.linkMessage(link, message.encoded), at: now).isEmpty)
        }
        _ = balancer.step(.linkDown(link), at: now)
        #expect(balancer.status.packetsDropped["link-notForABalancer"] == UInt64(messages.count))
    }
}
