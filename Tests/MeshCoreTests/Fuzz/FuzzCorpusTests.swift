import Foundation
import Testing

@testable import MeshCore

@Suite struct FuzzCorpusTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fuzz/corpus")
        .standardizedFileURL

    /// Inputs that a fuzzer begins with, and those that once trapped.
    @Test func nothingInTheFuzzersCorpusTraps() throws {
        let files = try FileManager.default.contentsOfDirectory(at: Self.corpus, includingPropertiesForKeys: nil)
        var decoders: Set<UInt8> = []
        for file in files {
            let input = [UInt8](try Data(contentsOf: file))
            FuzzDecoder.feed(input)
            if let first = input.first { decoders.insert(first % UInt8(FuzzDecoder.allCases.count)) }
        }
        #expect(decoders.count == FuzzDecoder.allCases.count, "each decoder has an input")
    }

    /// A packet that is sealed by a peer gets as far as membership: the fixture's handshake is done.
    @Test func whatAPeerSealsIsHeard() throws {
        var (gossip, peer) = (FuzzDecoder.Fixture.gossip, FuzzDecoder.Fixture.peer)
        let (here, there, now) = (FuzzDecoder.Fixture.here, FuzzDecoder.Fixture.there, FuzzDecoder.Fixture.now)
        let ping = GossipMessage(sender: FuzzDecoder.Fixture.others[0].id, digest: 1, kind: .ping(number: 9, target: gossip.swim.local.id))
        let sealed = peer.seal(ping.encoded, to: here, at: now)
        let packet = try #require(sealed)
        var answers: [GossipMessage.Kind] = []
        for case .packet(let answer, to: there) in gossip.step(.packet(packet, from: there), at: now) {
            if let payload = try peer.open(answer, from: here, at: now).payload {
                answers.append(try GossipMessage(decoding: payload).kind)
            }
        }
        #expect(answers.contains(.ack(number: 9)))
    }
}
