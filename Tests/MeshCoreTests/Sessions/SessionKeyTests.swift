import Testing

@testable import MeshCore

/// The constants were computed with Python's hashlib, hmac and base64.
@Suite struct SessionKeyTests {
    static let id = SessionID(bytes: Array(0..<32))
    static let value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8.3.27-CZpB36HrksN1hRhn7naSlTWx8zBKtHkgQahKYztM"

    @Test func aKeyIsTheHashOfTheIdAndItsFirstTwelveBitsAreTheSlot() throws {
        let key = SessionKey(of: try #require(Self.id))
        #expect(key.description == "Yw3NKWbEM2aRElRIu7JbT_QSpJxzLbLIq8G4WBvXEN0")
        #expect(key.slot.rawValue == 1584)
        #expect(SessionKey(text: key.description) == key)
        #expect(SessionKey(bytes: key.bytes) == key)
        #expect(SessionKey(text: key.description.dropLast()) == nil)
    }

    @Test func aChannelsSlotComesFromItsName() {
        #expect(["chat", "news", "ä"].map { Slot(channel: $0).rawValue } == [798, 415, 830])
    }

    @Test func base64HasOneTextForEachByteString() {
        let pairs: [([UInt8], String)] = [
            ([], ""), ([0x66], "Zg"), ([0x66, 0x6F], "Zm8"), ([0x66, 0x6F, 0x6F], "Zm9v"), ([0xFB, 0xFF, 0xFE], "-__-"),
        ]
        for (bytes, text) in pairs {
            #expect(String(decoding: Base64URL.encode(bytes), as: UTF8.self) == text)
            #expect(Base64URL.decode(text.utf8) == bytes)
        }
        for text in ["Z", "Zh", "Zm9", "Zm9v=", "+__-", "Zm9vZ", "Z g"] { #expect(Base64URL.decode(text.utf8) == nil, "\(text)") }
    }

    @Test func secretsAreHmacOfACounter() throws {
        var secrets = SecretGenerator(seed: Array(0..<32))
        let first = secrets.next().map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        #expect(first == "c432e059c378eef7fe2f1181a4050836f51e0856fd74937be81784fa0efa7a1c")
        let (second, third) = (secrets.next(), secrets.next())
        #expect(second != third)
    }

    static func codec(_ numbers: UInt16...) throws -> CookieCodec {
        let ring = numbers.map { CookieKey(number: $0, secret: [UInt8](repeating: UInt8($0 + 4), count: 32)) }
        return try #require(CookieCodec(ring: ring))
    }

    @Test func aCookieIsSignedByTheNewestKeyAndVerifiedByEveryone() throws {
        let id = try #require(Self.id)
        #expect(try Self.codec(3).value(for: id) == Self.value)
        let rotated = try Self.codec(3, 4)
        #expect(rotated.value(for: id) != Self.value)
        #expect(rotated.id(in: Self.value.utf8) == id)
        #expect(rotated.id(in: rotated.value(for: id).utf8) == id)
        #expect(try Self.codec(4).id(in: Self.value.utf8) == nil)
        #expect(CookieCodec(ring: []) == nil)
    }

    @Test func anAlteredOrCutOrOversizedCookieIsNobodys() throws {
        let codec = try Self.codec(3, 4)
        let bytes = Array(Self.value.utf8)
        for index in bytes.indices {
            for bit in 0..<8 {
                var forged = bytes
                forged[index] ^= 1 << UInt8(bit)
                #expect(codec.id(in: forged) == nil)
            }
            #expect(codec.id(in: bytes[..<index]) == nil)
        }
        #expect(codec.id(in: bytes + [0x41]) == nil)
        #expect(codec.id(in: [UInt8](repeating: 0x41, count: 1 << 20)) == nil)
        #expect(codec.id(in: Array("..".utf8)) == nil)
        // The same key number, written in another way, is another text and was not signed.
        #expect(codec.id(in: Array(Self.value.replacing(".3.", with: ".03.").utf8)) == nil)
    }
}
