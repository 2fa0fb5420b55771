package launcher

import (
	"math/rand/v2"
	"strings"
)

// The words of random names, separated by spaces. They are constants, since initialising
// slices would cost time at each start.
const (
	adjectives = "able amber apt bold brave brief bright brisk calm candid clear clever cosy crisp deft eager early easy " +
		"even fair fast fine firm fleet fond frank free fresh gentle glad golden good grand happy hardy honest humble jolly " +
		"keen kind lively loyal lucky mellow merry mild modest neat nimble noble patient placid plain polite prompt proud " +
		"quick quiet rapid ready rich robust round sharp silent simple sleek smart smooth sober solid spry steady still stout " +
		"strong sunny sure swift tame tidy tough true trusty vivid warm wise witty young zesty"
	animals = "adder alpaca badger beaver bison bittern buzzard camel caribou civet cormorant coyote crane curlew deer dingo " +
		"dipper dolphin donkey dormouse dove dunlin eagle egret eider elk ermine falcon ferret finch fox gannet gazelle gecko " +
		"gibbon goose grebe grouse gull hare harrier hawk hedgehog heron hoopoe ibex ibis jackal jackdaw jay kestrel kite " +
		"koala lapwing lark lemming lemur linnet llama lynx magpie marmot marten merlin mole moose newt ocelot oriole osprey " +
		"otter ouzel owl panda petrel pika pipit plover polecat puffin quail rabbit raven robin rook seal serval shrew " +
		"siskin skua snipe stoat stork swallow swan swift tapir teal tern thrush toad turnstone turtle viper vole walrus " +
		"warbler weasel wigeon wombat wren yak zebra"
)

// randomName returns a name for a container whose user gave none.
func randomName() string {
	return randomWord(adjectives) + "_" + randomWord(animals)
}

func randomWord(list string) string {
	words := strings.Fields(list)
	return words[rand.IntN(len(words))]
}
